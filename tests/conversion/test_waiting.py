"""Frames that are launched before the host knows that nothing is wrong with them."""

from __future__ import annotations

import pytest
import torch

from mmdyn.conversion import runtime_of
from mmdyn.conversion.runtime import BlockCopyRuntime
from mmdyn.ops.transfer import Later, to_device
from tests.blocks.clips import assert_close
from tests.conversion.networks import clip, converted, dense, named, network, share
from tests.conversion.waits import watched


@pytest.fixture
def later(monkeypatch):
    """Treats the CPU as a device that must not be waited for."""
    monkeypatch.setattr(BlockCopyRuntime, "looks_later", lambda self, image: True)


def pair(monkeypatch, **options):
    """The same network twice: its frames looked at before they are launched, and after."""
    nets = converted(**options), converted(**options)
    looks = BlockCopyRuntime.looks_later
    monkeypatch.setattr(
        BlockCopyRuntime, "looks_later",
        lambda self, image: self is runtime_of(nets[1]) or looks(self, image),
    )  # fmt: skip
    return nets


@pytest.mark.parametrize(
    "options",
    [{}, {"budget": 0.1, "max_age": 4}, {"half_budget": 0.3}, {"policy": "random"},
     {"policy": "all"}, {"policy": "none"}, {"policy": "reinforce"},
     {"refresh": 0.001, "max_age": 4}, {"motion": True}],
)  # fmt: skip
def test_both_orders_give_the_same(monkeypatch, options):
    nets = pair(monkeypatch, **options)
    for image in clip(12, images=2):
        assert torch.equal(*[net(image) for net in nets])
        stats = [runtime_of(net).stats for net in nets]
        for name in ("executed_share", "half_share", "first_frame", "gmacs"):
            assert stats[0][name] == stats[1][name]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("motion", [True, False])
def test_a_broken_frame_raises_and_the_next_is_right(later, bad, motion):
    net, frames = converted(budget=0.3, motion=motion), clip(6)
    for image in frames[:3]:
        net(image)
    broken = frames[3].clone()
    broken[0, 0, 3, 5] = bad
    trace = "memory is as it was" if motion else "streams start anew"
    with pytest.raises(ValueError, match=f"NaN or infinite.*{trace}"):
        net(broken)
    out = net(frames[4])
    if not motion:
        assert_close(out, dense(frames[4]))
    assert (share(net) == 1.0) != motion
    assert bool(torch.isfinite(out).all())
    net(frames[5])
    assert share(net) < 1.0


def test_a_scene_cut_runs_all_of_its_image_and_no_other(monkeypatch):
    nets = pair(monkeypatch, budget=0.25, scene_cut=0.5, max_age=20)
    frames = clip(8, images=2)
    for image in frames[:4]:
        for net in nets:
            net(image)
    image = frames[4].clone()
    image[1] = -3.0 * frames[0][1].flip(1, 2)
    outs = [net(image) for net in nets]
    assert torch.equal(*outs)
    assert_close(outs[1][1:], dense(image)[1:])
    assert share(nets[0]) == share(nets[1]) < 1.0
    for image in frames[5:]:
        assert torch.equal(*[net(image) for net in nets])


def test_weights_written_past_the_counters(later):
    frames = clip(6)
    net = converted(budget=0.25, motion=False)
    for image in frames[:4]:
        net(image)
    net.head.weight.data[0].mul_(2.0)
    net.stem.weight.data.mul_(0.5)
    stock = network()
    stock.head.weight.data[0].mul_(2.0)
    stock.stem.weight.data.mul_(0.5)
    with torch.no_grad():
        assert_close(net(frames[4]), stock(frames[4]))
    assert share(net) == 1.0
    net(frames[5])
    assert share(net) < 1.0


def test_streams_that_come_and_go(monkeypatch):
    nets = pair(monkeypatch, budget=0.3, max_age=6)
    frames = clip(16)
    for t, image in enumerate(frames):
        for stream in ("a", "b") if t % 3 else ("b",):
            assert torch.equal(*[named(net, image, (stream, t)) for net in nets])
            assert share(nets[0]) == share(nets[1])


@pytest.mark.parametrize("options", [{}, {"half_budget": 0.2}, {"max_age": 3, "refresh": 1e3}])
@torch.no_grad()
def test_nobody_waits_within_a_frame(later, monkeypatch, options):
    net = converted(network(), motion=False, dense_fallback=False, **options)
    frames = clip(14)
    for image in frames[:10]:
        net(image)
    with watched(monkeypatch) as found:
        for image in frames[10:]:
            net(image)
    assert not found


def test_the_watch_sees_who_waits(monkeypatch):
    net = converted(network(), motion=False, dense_fallback=False)
    frames = clip(8)
    for image in frames[:4]:
        net(image)
    with watched(monkeypatch) as found:
        net(frames[4])
    assert {name.split()[0] for name in found} >= {
        "conversion/runtime.py:run", "conversion/runtime.py:_run"
    }  # fmt: skip


def test_numbers_on_their_way():
    assert Later(torch.tensor([[1, 2], [3, 4]])).read() == [[1, 2], [3, 4]]
    assert Later(torch.tensor(3)).read() == 3
    sent = to_device([True, False], torch.device("cpu"))
    assert sent.dtype == torch.bool and sent.tolist() == [True, False]
