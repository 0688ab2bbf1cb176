"""Replayed modules give what their Python gives, and modules that cannot be replayed are not."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import mmdyn
from mmdyn.conversion.dynamic import runtime_of
from mmdyn.conversion.replay import Segment
from tests.conversion.networks import SIZE, Net, clip, converted, network

FRAMES = 16


class Host(nn.Module):
    """A network inside a network: its `net` is the segment."""

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = net or network()

    def forward(self, x):
        return self.net(x)


def pair_of(net: nn.Module, **options) -> tuple[nn.Module, nn.Module]:
    """The same network converted with and without replay."""
    net = Host(net).eval()
    options = {"policy": "frame_difference", "budget": 0.5, **options}
    return converted(copy.deepcopy(net), **options), converted(net, replay=False, **options)


def replayed(model: nn.Module) -> int:
    return model.net.__dict__["forward"].replayer.replayed


def run_both(pair, frames, autocast: bool = False) -> None:
    for frame in frames:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            outs = [model(frame.clone()) for model in pair]
        assert torch.equal(*outs)
        stats = [runtime_of(model).stats for model in pair]
        assert stats[0]["gmacs"] == stats[1]["gmacs"] > 0
        assert stats[0]["dense_gmacs"] == stats[1]["dense_gmacs"]


@pytest.mark.parametrize("options", [{}, {"budget": 0.2}, {"max_age": 3}, {"block_size": (8, 32)}])
def test_replay_changes_no_bit(options):
    pair = pair_of(network(), **options)
    run_both(pair, clip(FRAMES))
    assert replayed(pair[0]) >= FRAMES // 4


def test_batches_and_autocast():
    pair = pair_of(network())
    run_both(pair, clip(FRAMES, images=2), autocast=True)
    assert replayed(pair[0])


def test_many_shapes_and_clips():
    pair = pair_of(network())
    frames = clip(40)
    small = [frame[..., :32, :48].contiguous() for frame in frames]
    for part in (frames[:12], small[:12], frames[12:24]):
        run_both(pair, part)
        for model in pair:
            mmdyn.reset(model)
    assert replayed(pair[0])


def _add(net):
    with torch.no_grad():
        net.conv.weight.add_(0.1)


def _past_the_counters(net):
    net.conv.weight.data.mul_(1.5)


def _load(net):
    state = {k: v + 0.1 if v.is_floating_point() else v for k, v in net.state_dict().items()}
    net.load_state_dict(state, assign=True)


def _replace(net):
    net.gate = nn.Sequential(copy.deepcopy(net.gate), nn.Tanh())


def _hook(net):
    net.conv.register_forward_hook(lambda module, args, out: out * 2)


@pytest.mark.parametrize("change", [_add, _past_the_counters, _load, _replace, _hook])
def test_changes_between_frames_are_followed(change):
    pair = pair_of(network(), max_age=1)
    run_both(pair, clip(FRAMES))
    assert replayed(pair[0])
    for model in pair:
        change(model.net)
        mmdyn.reset(model)
    run_both(pair, clip(FRAMES, seed=1))


class ByValue(Net):
    def forward(self, x):
        y = super().forward(x)
        return y if float(x.mean()) > 0 else -y


class InNumPy(Net):
    def forward(self, x):
        y = self.features(x).dense()
        z = torch.empty_like(y)
        z.numpy()[:] = np.tanh(y.numpy())
        return F.interpolate(self.head(z), scale_factor=2, mode="bilinear")


class Counting(Net):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * self.calls


class Remembering(Net):
    def forward(self, x):
        y = super().forward(x)
        self.last = y
        return y


class FreshWeights(Net):
    def forward(self, x):
        weight = self.conv.weight * x.dense().mean()
        return F.conv2d(super().features(x), weight, padding=2, dilation=2)


class Drawing(Net):
    def forward(self, x):
        return super().forward(x) + torch.rand(())


@pytest.mark.parametrize("kind", [ByValue, InNumPy, Counting, Remembering, FreshWeights])
def test_what_cannot_be_repeated_is_left_alone(kind):
    pair = pair_of(network(kind))
    for frame in clip(FRAMES):  # a rehearsal that fails may cost a whole frame
        outs = [model(frame) for model in pair]
    for model in pair:
        mmdyn.reset(model)
    run_both(pair, clip(FRAMES))
    assert outs[0].isfinite().all() and not replayed(pair[0])
    assert pair[0].net.__dict__["forward"].refused


def test_chance_is_not_replayed():
    model, _ = pair_of(network(Drawing))
    frames = clip(FRAMES)
    for frame in frames:
        model(frame)
    assert not replayed(model)


def test_a_refused_parent_leaves_its_children():
    inner = Host()

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x) * (1 if float(x.sum()) > 0 else 2)

    pair = pair_of(Outer())
    run_both(pair, clip(FRAMES))
    assert pair[0].net.__dict__["forward"].refused and replayed(pair[0])


def test_copies_and_pickles_start_without_programs():
    model, plain = pair_of(network())
    frames = clip(FRAMES)
    run_both((model, plain), frames)
    segment = model.net.__dict__["forward"]
    assert segment.cases
    twin = copy.deepcopy(model)
    other = twin.net.__dict__["forward"]
    assert not other.cases and other.module is twin.net and other.replayer is not segment.replayer
    mmdyn.reset(plain)
    run_both((twin, plain), frames)
    again = pickle.loads(pickle.dumps(model.net.__dict__["forward"].module.stem))
    assert torch.equal(again.weight, model.net.stem.weight)


def test_restored_models_have_no_segments():
    model = converted(Host().eval())
    assert any(isinstance(m.__dict__.get("forward"), Segment) for m in model.modules())
    mmdyn.restore_model(model)
    assert not any("forward" in m.__dict__ for m in model.modules())
    assert torch.equal(model(clip(1)[0]), Host().eval()(clip(1)[0]))
    assert tuple(clip(1)[0].shape[2:]) == SIZE


def test_switched_off():
    model = converted(Host().eval(), replay=False)
    assert not any("forward" in m.__dict__ for m in model.modules())


class Sharing(Net):
    """Composes its input and an output inside, and gives both back, one of them twice."""

    def forward(self, x):
        y = self.features(x)
        z = y + x.mean((2, 3)).mean() if y.cumsum(1).dim() == 4 else y
        return x, y, (z, y)


class Composing(nn.Module):
    """Composes what its part gave back, composed before or not."""

    def __init__(self) -> None:
        super().__init__()
        self.part = network(Sharing)

    def forward(self, x):
        x, y, (z, again) = self.part(x)
        assert again is y
        return F.interpolate(x.cumsum(1), scale_factor=0.5)[:, :1] + y.cumsum(1) + z.cumsum(1)


def test_composites_are_the_same_whether_replayed_or_not():
    net = Composing().eval()
    pair = [converted(copy.deepcopy(net), max_age=10**6, replay=on) for on in (True, False)]
    frames = clip(40)
    for i, frame in enumerate(frames):
        for model in pair:  # other counts of blocks in turn: replayed in some frames only
            for state in runtime_of(model).streams.states.values():
                state.controller.budget = (0.2, 0.4, 0.7)[i % 3]
        run_both(pair, [frame])
        assert i == 0 or runtime_of(pair[0]).stats["executed_share"] < 1.0
    assert pair[0].part.__dict__["forward"].replayer.replayed
