"""A stream without a runtime: frames of given levels, one after the other, through one function."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmdyn.blocks import BlockGrid, BlockTensor, Constants, Frame, LaidOutBlocks, Level, split
from mmdyn.blocks.padded import PaddedBlockTensor
from mmdyn.video import FeatureMemory

# Largest difference from the dense network, relative to the largest value.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}


def as_dense(out):
    """A function's output as a plain tensor."""
    return out.dense() if isinstance(out, (BlockTensor, LaidOutBlocks, PaddedBlockTensor)) else out


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """Largest difference in units of the largest value; refuses other shapes and types."""
    assert got.shape == wanted.shape and got.dtype == wanted.dtype, (got, wanted)
    if not wanted.is_floating_point():
        return float((got != wanted).float().mean())
    assert bool(torch.isfinite(got).all())
    difference = (got.double() - wanted.double()).abs().max()
    return float(difference / wanted.double().abs().max().clamp(min=1e-6))


def assert_close(got: Tensor, wanted: Tensor, dtype: torch.dtype | None = None) -> None:
    """Equal within `TOLERANCE` of `dtype`, by default the tensors' own."""
    error = relative_error(got, wanted)
    assert error <= TOLERANCE.get(dtype or wanted.dtype, 0.0), error


def levels(cells: Tensor | str, images: int, size: tuple[int, int]) -> Tensor:
    """Levels from a mask, or from the word none, one, some or all."""
    total = images * size[0] * size[1]
    if isinstance(cells, str):
        flat = torch.zeros(total, dtype=torch.uint8)
        chosen = {"none": 0, "one": 1, "some": total // 2, "all": total}[cells]
        flat[torch.randperm(total, generator=torch.Generator().manual_seed(total))[:chosen]] = 1
        cells = flat
    return cells.view(images, *size).to(torch.uint8)


def spread(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, GH, GW) levels or mask to (N, 1, H, W)."""
    n, gh, gw = mask.shape
    mask = mask[:, None].repeat_interleave(size[0] // gh, 2)
    return mask.repeat_interleave(size[1] // gw, 3)


class Clip:
    """Frames of one function, with memory between them.

    Args:
        function: Of an image (N, C, H, W).
        block: Block size.
        remembers: Whether there is a memory; without one every cell must run.
    """

    def __init__(self, function: Callable, block: tuple[int, int], remembers: bool = True) -> None:
        self.function, self.block = function, block
        self.memory = FeatureMemory() if remembers else None
        self.constants = Constants()
        self.frame: Frame | None = None

    def grid(self, image: Tensor, cells, slots: list[int] | None = None) -> BlockGrid:
        size = (image.shape[2] // self.block[0], image.shape[3] // self.block[1])
        return BlockGrid(levels(cells, image.shape[0], size), self.block, slots)

    def run(self, image: Tensor, cells="all", slots: list[int] | None = None, grid=None):
        """The function's output, still in blocks where it is."""
        grid = grid or self.grid(image, cells, slots)
        if self.memory is not None:
            self.memory.begin(grid)
        self.frame = Frame(grid, self.memory, constants=self.constants)
        return self.function(split(self.frame, image, self.block))

    def dense(
        self, image: Tensor, cells="all", slots: list[int] | None = None, grid=None
    ) -> Tensor:
        """The function's output as a plain tensor."""
        return as_dense(self.run(image, cells, slots, grid))


def half_of(image: Tensor) -> Tensor:
    """The image at half resolution, as half-level blocks see it."""
    return torch.nn.functional.avg_pool2d(image, 2)


def all_half(image: Tensor, block: tuple[int, int]) -> Tensor:
    """Levels of an all-half frame."""
    size = (image.shape[2] // block[0], image.shape[3] // block[1])
    return torch.full((image.shape[0], *size), int(Level.HALF))
