"""What a recorder names, what it refuses, and programs run on other frames of any levels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmdyn.blocks import BlockGrid, Frame, split
from mmdyn.blocks.program import Program
from mmdyn.blocks.recording import Recorder, fixed, recorder, unrecorded
from mmdyn.video import FeatureMemory

SIZE, BLOCK = (4, 4), (8, 8)


def frame_of(levels: torch.Tensor, memory: FeatureMemory) -> Frame:
    grid = BlockGrid(levels.to(torch.uint8), BLOCK)
    memory.begin(grid)
    return Frame(grid, memory)


def levels_of(seed: int, full: int, half: int) -> torch.Tensor:
    """A grid of so many full and half cells; the others are copied."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(16, generator=generator)
    levels = torch.zeros(16)
    levels[order[:full]], levels[order[full : full + half]] = 1, 2
    return levels.view(1, *SIZE)


def layers(x, weight):
    """Halo, pooling, a composite and a residual."""
    y = F.relu(F.conv2d(x, weight, padding=1))
    y = y + F.max_pool2d(y, 3, 1, 1)
    y = F.interpolate(y, scale_factor=2, mode="bilinear")
    return F.avg_pool2d(y, 2) * F.adaptive_avg_pool2d(y, 1)


def run(frame: Frame, image, weight):
    """The output's levels, computed."""
    return [v for v in layers(split(frame, image, BLOCK), weight).packed if v is not None]


def record(frame: Frame, image, weight):
    x = split(frame, image, BLOCK)
    inputs = [v for v in x.packed if v is not None]
    frame.effects = effects = []
    watch = Recorder(frame.grid, inputs, {id(weight): weight})
    with watch:
        packed = [v for v in layers(x, weight).packed if v is not None]
    frame.effects = None
    return watch.finish(packed), watch.reason, effects, packed


@pytest.mark.parametrize("counts", [(6, 0), (5, 7), (0, 9), (3, 13)])
@torch.no_grad()
def test_a_program_runs_on_other_frames(counts):
    torch.manual_seed(0)
    weight = torch.randn(3, 3, 3, 3)
    memories = FeatureMemory(), FeatureMemory()
    for memory in memories:  # all cells once, halves too where they will be
        whole = levels_of(0, 16 - counts[1], counts[1])
        run(frame_of(whole, memory), torch.zeros(1, 3, 32, 32), weight)
    image = torch.randn(1, 3, 32, 32)
    recording, reason, effects, _ = record(
        frame_of(levels_of(1, *counts), memories[0]), image, weight
    )
    assert not reason
    run(frame_of(levels_of(1, *counts), memories[1]), image, weight)
    program = Program(recording, effects)
    for seed in range(2, 6):
        image, levels = torch.randn(1, 3, 32, 32), levels_of(seed, *counts)
        frames = [frame_of(levels, memory) for memory in memories]
        x = split(frames[0], image, BLOCK)
        assert program.holds(frames[0])
        got = program.run(frames[0], [v for v in x.packed if v is not None])
        wanted = run(frames[1], image, weight)
        assert len(got) == len(wanted) and all(map(torch.equal, got, wanted))
        assert frames[0].calls(":conv2d") == frames[1].calls(":conv2d") == 1


@torch.no_grad()
def test_recordings_of_two_frames_are_the_same_or_not():
    weight, memory = torch.randn(3, 3, 3, 3), FeatureMemory()
    recordings = []
    for seed, count in [(0, 16), (1, 6), (2, 6), (3, 7)]:
        frame = frame_of(levels_of(seed, count, 0), memory)
        recordings.append(record(frame, torch.randn(1, 3, 32, 32), weight)[0])
    _, six, other_six, seven = recordings
    assert six.same(other_six) and not six.same(seven)


@torch.no_grad()
def test_holds_until_the_memory_is_of_another_size():
    weight, memory = torch.randn(3, 3, 3, 3), FeatureMemory()
    layers(split(frame_of(levels_of(0, 16, 0), memory), torch.zeros(1, 3, 32, 32), BLOCK), weight)
    frame = frame_of(levels_of(0, 16, 0), memory)
    recording, _, effects, _ = record(frame, torch.randn(1, 3, 32, 32), weight)
    program = Program(recording, effects)
    assert program.holds(frame_of(levels_of(0, 16, 0), memory))
    memory.clear()
    assert not program.holds(frame_of(levels_of(0, 16, 0), memory))


def recorded(func, *inputs, constants=()):
    grid = BlockGrid(levels_of(0, 4, 0).to(torch.uint8), BLOCK)
    watch = Recorder(grid, list(inputs), {id(c): c for c in constants})
    with watch:
        out = func(*inputs)
    return watch, watch.finish([out])


x, elsewhere = torch.randn(4, 4), torch.randn(4, 4)


@pytest.mark.parametrize(
    "func, reason",
    [
        (lambda v: v + elsewhere, "made elsewhere"),
        (lambda v: v * v.mean().item(), "pixel values"),
        (lambda v: v[v > 0], "mask"),
        (lambda v: v + torch.rand(4), "chance"),
        (lambda v: v.nonzero(), "pixel values"),
        (lambda v: elsewhere, "made elsewhere"),
    ],
)
def test_what_is_refused(func, reason):
    watch, _ = recorded(func, x)
    assert reason in watch.reason


def test_what_is_named():
    table, weight = fixed(torch.ones(4, 4)), torch.ones(4, 4)
    watch, recording = recorded(
        lambda v: (v + table) * weight + torch.tensor([1.0, 2, 3, 4]), x, constants=[weight]
    )
    assert not watch.reason
    assert [type(s).__name__ for s in recording.sources] == ["InputRef"] + ["ConstantRef"] * 3


def test_nothing_is_recorded_while_paused():
    def func(v):
        with unrecorded():
            assert recorder() is None
            elsewhere.add(1).sum().item()
        assert recorder() is not None
        return v + 1

    watch, recording = recorded(func, x)
    assert not watch.reason and recorder() is None
    assert sum(node.op == "call_function" for node in recording.graph.nodes) == 1


@torch.no_grad()
def test_rehearsal_shows_memory_that_no_operator_filled():
    def func(v):
        out = torch.empty_like(v)
        out.numpy()[:] = v.numpy()
        return out + 0

    frame = Frame(BlockGrid(levels_of(0, 16, 0).to(torch.uint8), BLOCK))
    _, recording = recorded(func, x)
    assert Program(recording, []).rehearse(frame, [x])[0].isnan().all()
    _, recording = recorded(lambda v: torch.empty_like(v).copy_(v) + 0, x)
    assert torch.equal(Program(recording, []).rehearse(frame, [x])[0], x)
