"""One frame on its way through a network: the grid, the memory, and where in the network we are."""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointFunction

from mmdyn.blocks.constants import Constants
from mmdyn.blocks.grid import BlockGrid
from mmdyn.blocks.recording import recorder, unrecorded
from mmdyn.blocks.shared_rings import SharedRings

logger = logging.getLogger(__name__)
_claims = threading.Lock()


class StaleMemoryError(RuntimeError):
    """A copied block's memory is missing or older than the frame before; run all cells once."""


class Memory(Protocol):
    """What rules ask of a stream's memory (``mmdyn.video.FeatureMemory``)."""

    def rows(
        self, key: str, grid: BlockGrid, per_cell: int, channels: int, like: Tensor, fill: float
    ) -> Tensor:
        """(1 + slots * cells * per_cell, channels) kept under `key`; row 0 holds `fill`."""

    def maps(self, key: str, grid: BlockGrid, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """(slots, C, H, W) channels-last, kept under `key`; `shape` is (C, H, W)."""

    def peek(self, key: str) -> Tensor | None:
        """What is kept under `key`, without using it."""


@dataclass
class Site:
    """A place of the network as the last frame saw it, for the report.

    Attributes:
        path: Module path.
        op: What ran there.
        reason: Why it ran dense; empty if it ran on blocks.
    """

    path: str
    op: str
    reason: str


@dataclass
class Tracker:
    """Where in the module tree the forward pass is; a converted model's hooks feed it."""

    stack: list[str] = field(default_factory=list)
    frame: Frame | None = None
    owner: int | None = None  # the thread whose call is under way

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While it lasts, no other thread may run the network.

        Raises:
            RuntimeError: If another one does.
        """
        me = threading.get_ident()
        with _claims:
            before = self.owner
            if before not in (None, me):
                raise RuntimeError(
                    "a converted network runs one call at a time, and another thread is in this "
                    "one; give each thread a network of its own (copy.deepcopy) or take turns"
                )
            self.owner = me
        try:
            yield
        finally:
            self.owner = before

    @property
    def path(self) -> str:
        return self.stack[-1] if self.stack else ""


def _in_reentrant_checkpoint() -> bool:
    """Whether the caller runs in one's first pass."""
    place: FrameType | None = sys._getframe()
    while place is not None:
        if place.f_code is CheckpointFunction.forward.__code__:
            return True
        place = place.f_back
    return False


class Frame:
    """What every rule needs to know.

    Args:
        grid: The decision of this frame.
        memory: The streams' memory; None if no cell is copied and nothing is kept.
        tracker: Position in the module tree.
        constants: Folded weights.
        strict: Raise where a function has no rule, instead of turning dense.
        replays: Whether modules may repeat recorded operators; None: where there is a memory.
    """

    def __init__(
        self,
        grid: BlockGrid,
        memory: Memory | None = None,
        tracker: Tracker | None = None,
        constants: Constants | None = None,
        strict: bool = False,
        replays: bool | None = None,
    ) -> None:
        if memory is None and not all(grid.complete):
            raise ValueError("copied cells need a memory: pass a mmdyn.video.FeatureMemory")
        self.grid = grid
        self.memory = memory
        self.tracker = tracker or Tracker()
        self.constants = Constants() if constants is None else constants
        self.constants.begin()
        self.strict = strict
        self.replays = memory is not None if replays is None else replays
        self.dense_sites: dict[str, Site] = {}
        self.macs: dict[str, float] = {}  # executed, by module path
        self.sparse_paths: set[str] = set()  # counted modules that ran on blocks
        self.dense_macs = 0.0
        self.sparse_macs = 0.0  # what the dense network would do in modules that ran on blocks
        self.effects: list[tuple[str, tuple]] | None = None  # collected while a stretch is recorded
        self._recorded = torch.is_grad_enabled()
        self.rings = SharedRings()
        self._calls: Counter = Counter()
        self._readers: dict[int, list] = {}

    @property
    def defers(self) -> bool:
        """Whether convolutions wait for their epilogue: only where autograd does not record.

        Raises:
            RuntimeError: If a checkpoint runs that would lose gradients: blocks are not among
                the tensors that a reentrant one connects.
        """
        recorded = torch.is_grad_enabled()
        if self._recorded and not recorded and _in_reentrant_checkpoint():
            raise RuntimeError(
                f"a reentrant checkpoint at '{self.tracker.path}' would leave weights without "
                "gradients; call torch.utils.checkpoint with use_reentrant=False, and leave "
                "activation_checkpointing out of the config"
            )
        return not recorded

    def key(self, op: str) -> str:
        """A name for this call of `op`: module path, op and call index."""
        name = f"{self.tracker.path}:{op}"
        index = self.calls(name)
        self._apply("_count_call", name)
        return f"{name}:{index}"

    def calls(self, name: str) -> int:
        """How many keys this frame has given out under a name."""
        return self._calls[name]

    def _count_call(self, name: str) -> None:
        self._calls[name] += 1

    def _apply(self, method: str, *args) -> None:
        if self.effects is not None:
            self.effects.append((method, args))
        getattr(self, method)(*args)

    def repeat(self, effects: list[tuple[str, tuple]]) -> None:
        """Counts what a stretch of the network counted when it was recorded."""
        for method, args in effects:
            getattr(self, method)(*args)

    def count(self, path: str, macs: float, sparse: bool) -> None:
        """Adds a module's multiply-accumulates.

        Args:
            path: Its place.
            macs: What the dense network does there.
            sparse: Whether it ran on the executed blocks only.
        """
        self._apply("_count", path, macs, sparse)

    def _count(self, path: str, macs: float, sparse: bool) -> None:
        share = self.grid.executed_share if sparse else 1.0
        self.macs[path] = self.macs.get(path, 0.0) + macs * share
        self.dense_macs += macs
        if sparse:
            self.sparse_macs += macs
            self.sparse_paths.add(path)

    def add_reader(self, data: Tensor, reader) -> None:
        """Remembers (weakly) a deferred convolution that has still to read `data`."""
        self._readers.setdefault(data.untyped_storage().data_ptr(), []).append(reader)

    def flush_readers(self, data: Tensor) -> None:
        """Runs what has still to read `data`, which is about to be written."""
        for reader in self._readers.pop(data.untyped_storage().data_ptr(), ()):
            deferred = reader()
            if deferred is not None:
                deferred.run()

    def rows(
        self, key: str, per_cell: int, channels: int, like: Tensor, fill: float = 0.0
    ) -> Tensor:
        """The ring store of this call; a fresh one where nothing is remembered."""
        with unrecorded():
            if self.memory is not None:
                data = self.memory.rows(key, self.grid, per_cell, channels, like, fill)
            else:
                count = 1 + (max(self.grid.slots) + 1) * self.grid.cells * per_cell
                data = like.new_empty((count, channels))  # all cells run and write theirs
                data[0] = fill
        if active := recorder():
            wanted = dict(per_cell=per_cell, channels=channels, fill=fill)
            active.note_store(data, "rows", key, wanted)
        return data

    def maps(self, key: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """The dense composite of this call, one image a slot; fresh where nothing is remembered."""
        with unrecorded():
            if self.memory is not None:
                data = self.memory.maps(key, self.grid, shape, like)
            else:
                size = (max(self.grid.slots) + 1, *shape)
                data = torch.empty(
                    size, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
                )
        if active := recorder():
            active.note_store(data, "maps", key, dict(shape=shape))
        return data

    def kept(self, key: str) -> Tensor | None:
        """What the memory holds under a key, without using it."""
        return None if self.memory is None else self.memory.peek(key)

    def went_dense(self, op: str, reason: str) -> None:
        """Notes that `op` ran on the dense composite here."""
        path = self.tracker.path
        if self.strict:
            raise NotImplementedError(
                f"{op} at '{path or 'the model'}' has no block rule for this call ({reason}); "
                "convert with strict=False to run it on the dense composite frame"
            )
        self._apply("_note_dense", Site(path, op, reason))

    def _note_dense(self, site: Site) -> None:
        self.dense_sites.setdefault(f"{site.path}:{site.op}", site)
