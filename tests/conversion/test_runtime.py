"""A converted network over time: what it forgets and keeps, and what it does with bad frames."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mmdyn
from mmdyn.conversion import runtime_of
from mmdyn.policies import build_policy
from tests.blocks.clips import assert_close
from tests.conversion.networks import SIZE, Net, clip, converted, network


def share(net) -> float:
    return runtime_of(net).stats["executed_share"]


def dense(image, kind=Net):
    with torch.no_grad():
        return network(kind)(image)


def test_the_first_frame_runs_whole_and_is_dense():
    net, frames = converted(budget=0.25), clip(2)
    assert_close(net(frames[0]), dense(frames[0]))
    assert runtime_of(net).stats["first_frame"] and share(net) == 1.0
    net(frames[1])
    assert not runtime_of(net).stats["first_frame"] and share(net) < 0.5


def test_a_still_image_gives_the_dense_output_whatever_runs():
    net, image = converted(budget=0.3, policy="random"), clip(1)[0]
    for _ in range(4):
        assert_close(net(image), dense(image))
    assert share(net) < 0.5


def test_nothing_executed_repeats_the_last_output():
    net, frames = converted(policy="none"), clip(3)
    first = net(frames[0])
    assert torch.equal(net(frames[1]), first) and torch.equal(net(frames[2]), first)


def test_all_executed_is_dense_in_every_frame():
    net = converted(policy="all")
    for image in clip(3):
        assert_close(net(image), dense(image))


def test_images_that_blocks_do_not_divide_are_padded_and_cropped():
    net, image = converted(policy="all"), torch.randn(1, 3, 41, 58)
    padded = F.pad(image, (0, 64 - 58, 0, 48 - 41))
    assert_close(net(image), dense(padded)[:, :, :41, :58])


def change_size(net, frames):
    return F.interpolate(frames[2], scale_factor=2)


def call_reset(net, frames):
    mmdyn.reset(net)
    return frames[2]


def call_reset_of_the_stream(net, frames):
    mmdyn.reset(net, "stream 0")
    return frames[2]


def cut(net, frames):
    return 1 - 2 * frames[2].flip(3)


@pytest.mark.parametrize("event", [change_size, call_reset, call_reset_of_the_stream, cut])
def test_what_starts_anew(event):
    net, frames = converted(budget=0.25, scene_cut=0.5), clip(4)
    net(frames[0])
    net(frames[1])
    assert share(net) < 0.5
    image = event(net, frames)
    assert_close(net(image), dense(image))
    assert share(net) == 1.0
    net(image)
    assert share(net) < 1.0


class Named(Net):
    """A network whose caller names streams and frames, as OpenMMLab's data samples do."""

    def forward(self, x, metas=None):
        return super().forward(x)


def named(net, image, *names):
    """Runs a batch whose images belong to the (stream, frame number) pairs."""
    host = runtime_of(net).host
    original = type(host).streams
    try:
        host.streams = lambda call, clip_id: list(names)
        return net(image)
    finally:
        del host.streams
        assert type(host).streams is original


def test_a_new_clip_and_a_frame_number_going_back_start_anew():
    net, frames = converted(budget=0.25), clip(6)
    names, shares = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 1), ("b", 5)], []
    for image, name in zip(frames, names, strict=True):
        out = named(net, image, name)
        shares.append(share(net))
        if shares[-1] == 1.0:
            assert_close(out, dense(image))
    assert [s == 1.0 for s in shares] == [True, False, True, False, True, False]


def test_streams_may_change_their_place_in_the_batch():
    clips = {name: clip(4, seed) for seed, name in enumerate("ab")}
    together, apart = converted(budget=0.5), {name: converted(budget=0.5) for name in "ab"}
    for t, order in enumerate(["ab", "ba", "ab", "b"]):
        image = torch.cat([clips[name][t] for name in order])
        got = named(together, image, *[(name, t) for name in order])
        wanted = [named(apart[name], clips[name][t], (name, t)) for name in order]
        assert_close(got, torch.cat(wanted))
    assert share(together) < 1.0


def test_interleaved_streams_keep_their_memory():
    clips = {name: clip(6, seed) for seed, name in enumerate("ab")}
    net, shares = converted(budget=0.25), []
    for t in range(6):
        for name in "ab":
            named(net, clips[name][t], (name, t))
            shares.append(share(net))
    assert all(s < 1.0 for s in shares[4:])


def test_more_streams_than_slots_run_whole_frames_and_stay_right(caplog):
    net, image = converted(policy="none", max_streams=2), clip(1)[0]
    for _ in range(2):
        for name in "abc":
            assert_close(named(net, image, (name, None)), dense(image))
    assert "raise max_streams" in caplog.text
    with pytest.raises(ValueError, match="max_streams"):
        net(torch.cat([image] * 3))


def test_two_frames_of_one_stream_in_a_batch_are_refused():
    net = converted()
    with pytest.raises(ValueError, match="batch size 1"):
        named(net, torch.cat(clip(2)), ("a", 0), ("a", 1))


def test_an_unknown_stream_is_refused_and_a_forgotten_one_is_not():
    net, frames = converted(), clip(2)
    named(net, frames[0], ("a", 0))
    with pytest.raises(KeyError, match="known: a"):
        mmdyn.reset(net, "b")
    named(net, frames[1], ("b", 0))
    mmdyn.reset(net, "a")


def test_no_block_is_older_than_max_age():
    net = converted(budget=0.05, max_age=5)
    for image in clip(14):
        net(image)
        state = next(iter(runtime_of(net).streams.states.values()))
        assert int(state.age.max()) <= 5


@pytest.mark.parametrize("policy", ["frame_difference", "random", "oracle", "reinforce"])
@pytest.mark.parametrize("budget", [0.15, 0.5])
def test_the_budget_is_met_over_a_clip(policy, budget):
    net, shares = converted(budget=budget, policy=policy), []
    for image in clip(30):
        net(image)
        shares.append(share(net))
    assert abs(sum(shares) / 30 - budget) <= 0.01


def test_a_frame_whose_copied_blocks_are_too_stale_runs_whole_but_not_again_at_once():
    net, frames = converted(budget=0.1, refresh=0.3, max_age=6), clip(10)
    for image in frames[:7]:
        net(image)
    assert share(net) < 0.9
    brighter = frames[7] + 0.6
    assert_close(net(brighter), dense(brighter))
    assert share(net) == 1.0
    net(brighter - 0.6)
    assert share(net) < 0.9


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_frame_raises_and_leaves_no_trace(bad):
    frames = clip(5)
    broken = frames[2].clone()
    broken[0, 0, 3, 5] = bad
    nets = [converted(budget=0.3) for _ in range(2)]
    for t in (0, 1):
        for net in nets:
            named(net, frames[t], ("a", t))
    for image, name in ((broken, ("a", 2)), (broken, ("b", 0)), (broken[:, :, :32], ("a", 0))):
        with pytest.raises(ValueError, match="NaN or infinite"):
            named(nets[0], image, name)
    for t in (2, 3, 4):
        assert torch.equal(*[named(net, frames[t], ("a", t)) for net in nets])
        assert share(nets[0]) == share(nets[1]) < 1.0


class Failing(Net):
    """Raises where `fail` says: after some of the memory was written."""

    fail = ""

    def features(self, x):
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        if self.fail == "middle":
            self.fail = ""
            raise KeyboardInterrupt
        return super().features(x.mean(1, keepdim=True).expand(-1, 3, -1, -1))

    def forward(self, x):
        out = super().forward(x)
        if self.fail == "end":
            self.fail = ""
            raise RuntimeError("out of memory, say")
        return out


@pytest.mark.parametrize("where", ["middle", "end"])
def test_after_an_exception_the_next_frame_is_right(where):
    net, frames = converted(network(Failing), budget=0.3), clip(5)
    for image in frames[:2]:
        net(image)
    net.fail = where
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        net(frames[2])
    assert_close(net(frames[3]), dense(frames[3], Failing))
    net(frames[4])
    assert share(net) < 1.0


class Wandering(Net):
    """Takes another path on some frames."""

    detour = False

    def features(self, x):
        x = super().features(x)
        return self.conv(x) + self.conv(-x) if self.detour else self.conv(x)


def test_a_network_that_takes_another_path_runs_the_whole_frame():
    net = converted(network(Wandering), budget=0.3)
    for t, image in enumerate(clip(6)):
        net.detour = t in (2, 4)
        stock = network(Wandering)
        stock.detour = net.detour
        out = net(image)
        if net.detour:
            assert share(net) == 1.0
        if share(net) == 1.0:
            with torch.no_grad():
                assert_close(out, stock(image))


def test_what_is_not_an_image_batch_is_refused():
    net = converted()
    for bad in (torch.zeros(3, 48, 64), "image", None):
        with pytest.raises(ValueError, match="image batch"):
            net(bad)
    for bad in (torch.zeros(1, 3, 48, 64, dtype=torch.uint8), torch.zeros(0, 3, 48, 64)):
        with pytest.raises(ValueError, match="floating-point"):
            net(bad)
    assert_close(net(clip(1)[0]), dense(clip(1)[0]))


def test_outputs_are_the_callers_own():
    nets = [converted(budget=0.3) for _ in range(2)]
    for image in clip(5):
        mine, theirs = [net(image) for net in nets]
        assert torch.equal(mine, theirs)
        mine.zero_()


def test_callers_in_inference_mode_are_served_and_may_leave_it():
    net, frames = converted(budget=0.3), clip(4)
    other = converted(budget=0.3)
    for t, image in enumerate(frames):
        with torch.inference_mode(t % 2 == 0):
            got = net(image.clone())
        assert torch.equal(got, other(image))


def test_a_model_made_in_inference_mode_runs():
    with torch.inference_mode():
        net = converted(network(), budget=0.3)
        for image in clip(3):
            out = net(image)
    assert out.shape == (1, 3, *SIZE)


def test_training_mode_is_the_stock_network_with_gradients():
    net, stock = converted().train(), network().train()
    image = clip(2, images=2)[0]
    assert torch.equal(net(image), stock(image))
    net(image).sum().backward()
    assert net.stem.weight.grad is not None
    assert runtime_of(net).last_frame is None


def test_a_size_that_returns_starts_anew():
    net, frames = converted(policy="none"), clip(2)
    net(frames[0])
    net(F.interpolate(frames[0], scale_factor=2))
    assert_close(net(frames[1]), dense(frames[1]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_networks_run(dtype):
    net, stock = converted(network().to(dtype), budget=0.3), network().to(dtype)
    image = clip(1)[0].to(dtype)
    for _ in range(3):
        with torch.no_grad():
            assert_close(net(image), stock(image), torch.bfloat16)


def test_autocast_may_come_and_go():
    net, image = converted(budget=0.3), clip(1)[0]
    for t in range(6):
        with torch.autocast("cpu", torch.bfloat16, enabled=t % 4 > 1):
            assert_close(net(image), dense(image), torch.bfloat16 if t % 4 > 1 else None)


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    parts: dict


class Structured(Net):
    def forward(self, x):
        return Output(super().forward(x), {"features": [self.features(x)]})


def test_no_blocks_leak_out_of_structured_outputs():
    net, image = converted(network(Structured)), clip(1)[0]
    out = net(image)
    for got in (out.logits, out.parts["features"][0]):
        assert type(got) is torch.Tensor
    assert_close(out.logits, dense(image))


def test_strict_names_the_function_and_the_remedy():
    class Odd(Net):
        def features(self, x):
            return super().features(x).cumsum(3)

    net = converted(network(Odd), strict=True)
    with pytest.raises(NotImplementedError, match="cumsum.*strict=False"):
        net(clip(1)[0])


def test_the_policy_may_be_swapped():
    net, frames = converted(budget=0.3), clip(3)
    net(frames[0])
    runtime_of(net).policy = build_policy("all")
    assert_close(net(frames[1]), dense(frames[1]))


def test_memory_is_bounded_by_the_streams():
    net, frames = converted(budget=0.3), clip(6)
    net(frames[0])
    size = runtime_of(net).memory.nbytes
    for image in frames[1:]:
        net(image)
    assert runtime_of(net).memory.nbytes == size > 0
    assert not any(isinstance(m, nn.Module) for m in vars(runtime_of(net).memory).values())
