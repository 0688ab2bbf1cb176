"""What copied blocks remember: halo rings and dense composites, by place in the network."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from mmdyn.blocks.frame import StaleMemoryError
from mmdyn.blocks.grid import BlockGrid, Level
from mmdyn.video.motion import Motion, Paths


@dataclass
class _Entry:
    """One place's memory: a tensor with a part for each slot, and when each part was last used."""

    data: Tensor
    per_slot: int
    seen: dict[int, int] = field(default_factory=dict)


class FeatureMemory:
    """The memory of all streams of one frame size: each stream has a slot in every entry.

    Entries are made on first use and grow with the number of slots. An entry serves copied
    blocks only if it was used in the slot's last frame: a place that the network skipped for a
    frame, or a slot after `forget`, raises StaleMemoryError instead of giving old pixels.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._clock: dict[int, int] = {}
        self._motion: dict[int, Motion] = {}
        self._paths: dict[tuple, Paths] = {}  # by slot and size of the map

    def __deepcopy__(self, memo) -> FeatureMemory:
        return FeatureMemory()

    def __reduce__(self):
        return FeatureMemory, ()

    @property
    def nbytes(self) -> int:
        """Bytes held for all slots."""
        return sum(e.data.numel() * e.data.element_size() for e in self._entries.values())

    def begin(self, grid: BlockGrid, motion: dict[int, Motion] | None = None) -> None:
        """Starts a frame of the grid's slots.

        Args:
            grid: The frame's decision.
            motion: By slot; the copied cells of dense composites move along.
        """
        self.end()
        self._motion = motion or {}
        for slot in grid.slots:
            self._clock[slot] = self._clock.get(slot, 0) + 1

    def end(self) -> None:
        """Ends a frame: its motion is not needed any more."""
        self._motion = {}
        self._paths = {}

    def forget(self, slot: int) -> None:
        """Makes a slot's memory unusable until all its cells have run again."""
        self._clock[slot] = self._clock.get(slot, 0) + 2

    def clear(self) -> None:
        """Gives everything back."""
        self._entries.clear()
        self._clock.clear()

    def rows(
        self, key: str, grid: BlockGrid, per_cell: int, channels: int, like: Tensor, fill: float
    ) -> Tensor:
        """See ``mmdyn.blocks.frame.Memory``."""
        per_slot = grid.cells * per_cell
        entry = self._entries.get(key)
        need = 1 + (max(grid.slots) + 1) * per_slot
        if entry is None or not _fits(entry, per_slot, channels, like):
            data = like.new_full((need, channels), fill)
            entry = self._entries[key] = _Entry(data, per_slot)
        elif entry.data.shape[0] < need:
            data = like.new_full((need, channels), fill)
            data[: entry.data.shape[0]] = entry.data
            entry.data = data
        self._touch(key, entry, grid)
        return entry.data

    def maps(self, key: str, grid: BlockGrid, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """See ``mmdyn.blocks.frame.Memory``."""
        channels, height, width = shape
        per_slot = height * width
        entry = self._entries.get(key)
        need = max(grid.slots) + 1
        if entry is None or not _fits(entry, per_slot, channels, like):
            data = _empty_maps(need, shape, like)
            entry = self._entries[key] = _Entry(data, per_slot)
        elif entry.data.shape[0] < need:
            data = _empty_maps(need, shape, like)
            data[: entry.data.shape[0]] = entry.data
            entry.data = data
        self._touch(key, entry, grid)
        self._move(entry, grid)
        return entry.data

    def _move(self, entry: _Entry, grid: BlockGrid) -> None:
        size = (entry.data.shape[2], entry.data.shape[3])
        for i, slot in enumerate(grid.slots):
            motion = self._motion.get(slot)
            if motion is None or not motion.moves or grid.complete[i]:
                continue
            if (slot, size) not in self._paths:
                cells = grid.levels[i] == Level.COPIED
                self._paths[slot, size] = motion.paths(size, cells)
            self._paths[slot, size].move(entry.data[slot])

    def peek(self, key: str) -> Tensor | None:
        """See ``mmdyn.blocks.frame.Memory``."""
        entry = self._entries.get(key)
        return None if entry is None else entry.data

    def _touch(self, key: str, entry: _Entry, grid: BlockGrid) -> None:
        for slot, complete in zip(grid.slots, grid.complete):
            now = self._clock[slot]
            if not complete and entry.seen.get(slot) != now - 1:
                raise StaleMemoryError(
                    f"no memory of the last frame at '{key}' for slot {slot}: the network took "
                    "another path; run a frame with all cells executed"
                )
            entry.seen[slot] = now


def _fits(entry: _Entry, per_slot: int, channels: int, like: Tensor) -> bool:
    data = entry.data
    return (
        entry.per_slot == per_slot
        and data.shape[1] == channels
        and data.dtype == like.dtype
        and data.device == like.device
    )


def _empty_maps(slots: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
    channels, height, width = shape
    return like.new_zeros((slots, height, width, channels)).permute(0, 3, 1, 2)
