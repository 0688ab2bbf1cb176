"""A small stream with exact outputs, and the bookkeeping that a runtime does around a policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F

from mmdyn.policies import Observation, TaskOutput, information_gain, select_cells

GRID = (8, 8)
SIDE = 32  # pixels of a cell
SIZE = (GRID[0] * SIDE, GRID[1] * SIDE)


class MovingSquare:
    """A dim square wanders on the left; on the right a bright region flickers for nothing."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.place = torch.tensor([60.0, 40.0])
        self.speed = torch.tensor([9.0, 7.0])

    def frame(self) -> tuple[torch.Tensor, TaskOutput]:
        """The next image (3, H, W) and what a perfect network says of it."""
        room = torch.tensor([SIZE[0] - 48.0, SIZE[1] - 48.0 - 3 * SIDE])
        self.place = self.place + self.speed
        for axis in (0, 1):
            if not 0 <= self.place[axis] <= room[axis]:
                self.speed[axis] = -self.speed[axis]
                self.place[axis] = self.place[axis].clamp(0, float(room[axis]))
        image = 0.02 * torch.randn(3, *SIZE, generator=self.generator)
        flicker = torch.randn(3, GRID[0] * 4, 12, generator=self.generator)
        image[:, :, -3 * SIDE :] += F.interpolate(flicker[None], scale_factor=8)[0]
        y, x = (int(v) for v in self.place)
        image[:, y : y + 48, x : x + 48] += 0.3
        logits = torch.zeros(2, SIZE[0] // 4, SIZE[1] // 4)
        logits[1] = -4.0
        logits[1, y // 4 : y // 4 + 12, x // 4 : x // 4 + 12] = 4.0
        return image, TaskOutput("semseg", image_size=SIZE, logits=logits)


class Bookkeeper:
    """One stream's memory: what a policy is shown, and the composite of what it lets through."""

    def __init__(self) -> None:
        self.memory: torch.Tensor | None = None

    def observe(self, image: torch.Tensor, dense: TaskOutput) -> Observation:
        first = self.memory is None
        if first:
            self.memory, self.task = torch.zeros_like(image), None
            self.age = torch.ones(GRID, dtype=torch.int64)
            self.last = torch.zeros(GRID, dtype=torch.bool)
        now, before = (F.avg_pool2d(x[None], 8) for x in (image, self.memory))
        change = F.adaptive_avg_pool2d((now - before).abs(), GRID).mean(1)
        self.dense, self.image = dense, image
        return Observation(
            image[None], GRID, torch.zeros_like(change) if first else change, now, before,
            self.age[None], self.last[None], [self.task], oracle=[dense],
        )  # fmt: skip

    def execute(self, cells: torch.Tensor) -> TaskOutput:
        """Runs ``cells`` (GH, GW) of the frame just observed; returns the composite output."""
        pixels = cells.repeat_interleave(SIDE, 0).repeat_interleave(SIDE, 1)
        self.memory = torch.where(pixels, self.image, self.memory)
        logits = self.dense.logits
        if self.task is not None:
            samples = cells.repeat_interleave(8, 0).repeat_interleave(8, 1)
            logits = torch.where(samples, logits, self.task.logits)
        self.task = TaskOutput("semseg", image_size=SIZE, logits=logits)
        self.age = torch.where(cells, 1, self.age + 1)
        self.last = cells
        return self.task


def run_stream(policy, frames: int, count: int, seed: int = 0) -> float:
    """Runs a clip at ``count`` cells a frame; returns the caught share of the gain there was."""
    source, keeper = MovingSquare(seed), Bookkeeper()
    caught = total = 0.0
    for number in range(frames):
        obs = keeper.observe(*source.frame())
        gain = information_gain(obs.task[0], obs.oracle[0], GRID)
        cells = torch.ones(1, *GRID, dtype=torch.bool)
        if number:
            cells = select_cells(policy.scores(obs), count)
        output = keeper.execute(cells[0])
        policy.learn(obs, cells, [output])
        caught, total = caught + float(gain[cells[0]].sum()), total + float(gain.sum())
    return caught / total


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small only wait for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def stream() -> Callable[..., float]:
    return run_stream


@pytest.fixture
def square() -> type[MovingSquare]:
    return MovingSquare


@pytest.fixture
def bookkeeper() -> type[Bookkeeper]:
    return Bookkeeper
