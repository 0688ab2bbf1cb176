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
from tests.conversion.replays import FRAMES, Host, pair_of, replayed, run_both


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


class Neck(nn.Module):
    """Like FPN: a convolution of each map, of which the caller reads some."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return self.first(x), self.second(F.avg_pool2d(x, 2))


class Partly(nn.Module):
    def __init__(self, read: int) -> None:
        super().__init__()
        self.stem, self.neck, self.read = nn.Conv2d(3, 8, 3, padding=1), Neck(), read

    def forward(self, x):
        outs = self.neck(F.relu(self.stem(x)))
        return outs[0] if self.read == 1 else outs[0].mean() * F.interpolate(outs[1], SIZE)


@pytest.mark.parametrize("read", [1, 2])
@pytest.mark.parametrize("policy", ["all", "frame_difference"])
def test_outputs_that_nobody_reads(read, policy):
    pair = pair_of(Partly(read), policy=policy)
    run_both(pair, clip(FRAMES))
    assert pair[0].net.__dict__["forward"].replayer.replayed


@pytest.mark.parametrize("frame", range(1, 7))
def test_weights_written_while_modules_are_recorded(frame):
    pair = pair_of(Partly(2), policy="all", max_age=1)
    frames = clip(FRAMES)
    run_both(pair, frames[:frame])
    for model in pair:
        for parameter in model.parameters():
            with torch.no_grad():
                parameter.mul_(0.9)
    run_both(pair, frames[frame:])
    assert replayed(pair[0])


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
