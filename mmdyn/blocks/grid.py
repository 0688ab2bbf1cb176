"""The decision of one frame: what happens to every cell."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from enum import IntEnum
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmdyn.blocks.recording import unrecorded
from mmdyn.blocks.tables import Halo, Pair, Ring, halo_table, ring_table, tap_table
from mmdyn.ops.transfer import to_device


class Level(IntEnum):
    """What happens to a cell's block."""

    COPIED = 0
    FULL = 1
    HALF = 2


EXECUTED = (Level.FULL, Level.HALF)


def _counted(levels: Tensor) -> list[tuple[int, int]]:
    here = levels.flatten(1).cpu()
    if here.numel() and int(here.max()) > max(Level):
        raise ValueError(
            f"levels go up to {int(here.max())}; the values of mmdyn.blocks.Level are "
            f"{[int(level) for level in Level]}"
        )
    full, half = ((here == level).sum(1).tolist() for level in EXECUTED)
    return list(zip(full, half, strict=True))


def _first(taken: Tensor, count: int) -> Tensor:
    """(count,) int64: where the values that are True lie, whose number is known."""
    return (~taken).byte().argsort(stable=True)[:count]


class BlockGrid:
    """Levels of all cells of a batch of images, and the index maps that follow from them.

    Immutable; made once a frame and shared by all layers. Maps are made on first use for each
    geometry and kept.

    Args:
        levels: (N, GH, GW) integer tensor of `Level`.
        block_size: Image pixels of a block, height and width.
        slots: Memory slot of each image's stream; by default 0 to N - 1.
        halves: The grids of this stream may have half-resolution cells, though this one need not:
            the memory's layout depends on it. By default whether this one has.
        counts: Of each image, how many cells are full and half. By default they are counted,
            for which a device is waited for.

    Attributes:
        executed: Cells of each image that are not copied.
        complete: Of each image, whether that is all of them.
    """

    def __init__(
        self,
        levels: Tensor,
        block_size: Pair,
        slots: list[int] | None = None,
        halves: bool | None = None,
        counts: list[tuple[int, int]] | None = None,
    ) -> None:
        if levels.dim() != 3 or levels.is_floating_point():
            raise ValueError(
                f"levels must be an integer tensor (N, GH, GW), got {levels.dtype} "
                f"{tuple(levels.shape)}; see mmdyn.blocks.Level for its values"
            )
        self.levels = levels.to(torch.uint8)
        self.block_size = block_size
        self.num_images, *size = levels.shape
        self.size: Pair = (size[0], size[1])
        self.cells = size[0] * size[1]
        self.slots = list(range(self.num_images)) if slots is None else slots
        self.device = levels.device
        self.counts = _counted(self.levels) if counts is None else counts
        self.members = {
            level: _first(self.levels.flatten() == level, sum(each[i] for each in self.counts))
            for i, level in enumerate(EXECUTED)
        }  # (n,) cells of the whole batch
        self.has_halves = bool(halves) or self.members[Level.HALF].numel() > 0
        self.executed: list[int] = [sum(each) for each in self.counts]
        self.complete: list[bool] = [count == self.cells for count in self.executed]
        self._plans: dict = {}

    @classmethod
    def filled(cls, level: Level, num_images: int, size: Pair, block_size: Pair, **kwargs):
        """A grid whose cells all have one level; keywords: ``device``, ``slots``, ``halves``."""
        shape = (num_images, *size)
        levels = torch.full(shape, level, dtype=torch.uint8, device=kwargs.get("device"))
        cells = size[0] * size[1]
        counts = [(cells * (level == Level.FULL), cells * (level == Level.HALF))] * num_images
        return cls(levels, block_size, kwargs.get("slots"), kwargs.get("halves"), counts)

    def whole(self) -> BlockGrid:
        """The same images with all cells full."""
        return BlockGrid.filled(
            Level.FULL, self.num_images, self.size, self.block_size, device=self.device,
            slots=self.slots, halves=self.has_halves,
        )  # fmt: skip

    @property
    def image_size(self) -> Pair:
        """Height and width that the grid covers, in image pixels."""
        return self.size[0] * self.block_size[0], self.size[1] * self.block_size[1]

    def replica(self, members: dict[Level, Tensor]) -> BlockGrid:
        """A grid of as many blocks, at the cells that `members` holds when its tables are made."""
        slots = self.slot_numbers()
        twin = copy.copy(self)
        twin.members, twin._plans = members, {("slot_numbers",): slots}
        return twin

    def _plan(self, key: tuple, make) -> Any:
        if key not in self._plans:
            with unrecorded():
                self._plans[key] = make()
        return self._plans[key]

    def tables(self) -> Iterator[tuple[tuple, Any]]:
        """All index tables made so far, with the keys that `table` takes."""
        yield from self._plans.items()
        for level in EXECUTED:
            yield ("cells_at", level), self.members[level]

    def table(self, key: tuple) -> Any:
        """The index table of a key: the name of a method and its arguments."""
        made = self._plans.get(key)
        return getattr(self, key[0])(*key[1:]) if made is None else made

    def cells_at(self, level: Level) -> Tensor:
        """(n,) int64: the cells of the whole batch at a level."""
        return self.members[level]

    def count(self, level: Level) -> int:
        """Number of blocks at a level in the batch."""
        return self.members[level].numel()

    @property
    def executed_share(self) -> float:
        """Share of the cells that run, a half-resolution cell counting a quarter."""
        total = self.num_images * self.cells
        return (self.count(Level.FULL) + 0.25 * self.count(Level.HALF)) / total

    def images(self, level: Level) -> Tensor:
        """(n,) int64: the image of each block."""
        return self._plan(("images", level), lambda: self.members[level] // self.cells)

    def slot_numbers(self) -> Tensor:
        """(N,) int64: the memory slot of each image."""
        return self._plan(("slot_numbers",), partial(to_device, self.slots, self.device))

    def _local(self, level: Level) -> Tensor:
        return self._plan(("_local", level), lambda: self.members[level] % self.cells)

    def store_cells(self, level: Level) -> Tensor:
        """(n,) int64: the cell of each block in a store that holds `slots` images."""

        def make() -> Tensor:
            slots = self.slot_numbers()[self.images(level)]
            return slots * self.cells + self._local(level)

        return self._plan(("store_cells", level), make)

    def lines(self, level: Level, block: Pair, slotted: bool = False) -> Tensor:
        """(n, bh) int64 rows of a dense channels-last map for ``ops.cells``.

        Args:
            level: Whose blocks.
            block: Size of a block in that map.
            slotted: The map has one image a memory slot instead of one an image of the batch.
        """

        def make() -> Tensor:
            cells = self.store_cells(level) if slotted else self.members[level]
            (gh, gw), bh = self.size, block[0]
            image, cell = cells // self.cells, cells % self.cells
            first = (image * gh + cell // gw) * bh * gw + cell % gw
            return first[:, None] + torch.arange(bh, device=self.device) * gw

        return self._plan(("lines", level, block, slotted), make)

    def ring(self, block: Pair, depth: Halo) -> Ring:
        """The ring of a full-resolution block."""
        return ring_table(block, depth, self.device)

    def ring_rows(self, level: Level, count: int) -> Tensor:
        """(n * count,) int64: where the rings of a level's blocks lie in a store."""

        def make() -> Tensor:
            first = 1 + self.store_cells(level) * count
            return (first[:, None] + torch.arange(count, device=self.device)).flatten()

        return self._plan(("ring_rows", level, count), make)

    def halo(self, level: Level, block: Pair, halo: Halo, depth: Halo, mode: str):
        """Index (n, L[, 4]) and places (n * L,) for ``ops.windows.gather_windows``."""

        def make() -> tuple[Tensor, Tensor]:
            halves = level == Level.HALF
            table = halo_table(self.size, block, halo, depth, mode, halves, self.device)
            index = self._shifted(table.rows, level, self.ring(block, depth).count)
            n = self.count(level)
            first = torch.arange(n, device=self.device)[:, None] * table.area
            return index, (first + table.places).flatten()

        return self._plan(("halo", level, block, halo, depth, mode), make)

    def taps(self, block: Pair, out: Pair, kernel: Pair, stride: Pair, pad: Pair, dilation: Pair):
        """(n * out_h * out_w, kh * kw) int64 store rows for ``ops.conv.conv_taps``; full blocks."""

        def make() -> Tensor:
            args = (self.size, block, out, kernel, stride, pad, dilation, self.device)
            rows = self._shifted(tap_table(*args), Level.FULL, block[0] * block[1])
            return rows.flatten(0, 1)

        return self._plan(("taps", block, out, kernel, stride, pad, dilation), make)

    def _shifted(self, rows: Tensor, level: Level, count: int) -> Tensor:
        """Rows of one image's table, picked for a level's blocks and moved to their slots."""
        picked = rows.index_select(0, self._local(level))
        if self.slots == [0]:
            return picked
        slots = self.slot_numbers()[self.images(level)]
        shift = (slots * (self.cells * count)).view(-1, *[1] * (picked.dim() - 1))
        return torch.where(picked > 0, picked + shift, 0)
