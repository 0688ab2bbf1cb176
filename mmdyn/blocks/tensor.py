"""The tensor that flows: an image in shape, packed blocks in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmdyn.blocks.dispatch import RULES, run_dense, takes
from mmdyn.blocks.frame import Frame
from mmdyn.blocks.grid import Level
from mmdyn.blocks.tables import Pair
from mmdyn.ops.cells import gather_cells, scatter_cells

Packed = tuple[Tensor, Tensor | None]


class BlockTensor(torch.Tensor):
    """A feature map of which only the executed blocks exist.

    ``shape`` is the image's, (N, C, H, W). The data are two packed batches, channels-last:
    `blocks` (n, C, bh, bw) of the full-resolution cells and `halves` (m, C, bh / 2, bw / 2) of the
    half-resolution ones, None where the grid has none. Functions reach it through the rules in
    ``mmdyn.blocks.rules``; one without a rule gets the exact dense composite.

    Args:
        frame: The frame it belongs to.
        packed: `blocks` and `halves`, or a `Deferred` that will make them.
        block: Height and width of a full-resolution block of this map.
    """

    @staticmethod
    def __new__(cls, frame: Frame, packed, block: Pair):
        source = packed if hasattr(packed, "run") else packed[0]
        grid = frame.grid
        channels = packed.channels if hasattr(packed, "run") else source.shape[1]
        size = (grid.num_images, channels, grid.size[0] * block[0], grid.size[1] * block[1])
        return torch.Tensor._make_wrapper_subclass(
            cls, size, dtype=source.dtype, device=source.device
        )

    def __init__(self, frame: Frame, packed, block: Pair) -> None:
        grid = frame.grid
        self.frame = frame
        self.block = block
        self.deferred = packed if hasattr(packed, "run") else None
        self._packed = None if self.deferred is not None else packed
        self._channels = packed.channels if self.deferred is not None else packed[0].shape[1]
        self._size = torch.Size(
            (grid.num_images, self._channels, grid.size[0] * block[0], grid.size[1] * block[1])
        )
        self._composite: tuple[int, Tensor] | None = None
        self._tied: tuple[Tensor, int] | None = None

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        rule = RULES.get(func)
        if rule is None or (kwargs and kwargs.get("out") is not None):
            return run_dense(func, args, kwargs or {}, "no rule")
        if kwargs and not takes(rule, len(args), tuple(kwargs)):
            return run_dense(func, args, kwargs, f"arguments named {', '.join(kwargs)}")
        out = rule(*args, **(kwargs or {}))
        return run_dense(func, args, kwargs or {}, out.reason) if type(out) is Refusal else out

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """Reached only by what went past the rules, such as a C++ operator."""
        return run_dense(func, args, kwargs or {}, "called below torch's functions")

    @property
    def shape(self) -> torch.Size:
        return self._size

    def size(self, dim: int | None = None):
        return self._size if dim is None else self._size[dim]

    def dim(self) -> int:
        return 4

    ndim = property(dim)

    @property
    def channels(self) -> int:
        return self._channels

    @property
    def packed(self) -> Packed:
        """`blocks` and `halves`; runs a deferred convolution."""
        if self.deferred is not None:
            self._packed, self.deferred = self.deferred.run(), None
        if self._tied is not None and self._tied[0]._version != self._tied[1]:
            dense, self._tied = self._tied[0], None
            self.overwrite(dense)
            self.tie(dense)
        assert self._packed is not None
        return self._packed

    @property
    def blocks(self) -> Tensor:
        return self.packed[0]

    @property
    def halves(self) -> Tensor | None:
        return self.packed[1]

    def like(self, packed, block: Pair | None = None) -> BlockTensor:
        """A tensor of the same frame."""
        return BlockTensor(self.frame, packed, block or self.block)

    def map(self, func: Callable[[Tensor], Tensor], block: Pair | None = None) -> BlockTensor:
        """Applies a function of one pixel, or of one block, to every executed block."""
        blocks, halves = self.packed
        return self.like((func(blocks), None if halves is None else func(halves)), block)

    def about_to_change(self) -> None:
        """To be called before the packed data are written in place: lets readers read first."""
        for level in self.packed:
            if level is not None:
                self.frame.flush_readers(level)

    @property
    def is_tied(self) -> bool:
        """Whether a dense copy and this map follow each other's writes."""
        return self._tied is not None

    def tie(self, dense: Tensor) -> None:
        """Makes this map and a dense copy of it, and their views, follow each other's writes."""
        self._tied = dense, dense._version

    def changed(self) -> None:
        """To be called after the packed data were written in place."""
        if self._tied is not None:
            dense, self._tied = self._tied[0], None
            self.tie(dense.copy_(self.composite()))

    def write(self, func: Callable[[Tensor], object]) -> BlockTensor:
        """Applies an in-place function to every executed block and returns self."""
        packed = self.packed
        self.about_to_change()
        for level in packed:
            if level is not None:
                func(level)
        self.changed()
        return self

    def overwrite(self, dense: Tensor) -> None:
        """Replaces the blocks' contents by those of a dense map of the same shape."""
        fresh = split(self.frame, dense, self.block).packed
        mine = self.packed
        self.about_to_change()
        for old, new in zip(mine, fresh):
            if old is not None and new is not None:
                old.copy_(new)
        self.changed()

    def composite(self, op: str = "") -> Tensor:
        """The dense frame (N, C, H, W): executed blocks new, copied ones from memory.

        Read only: it may be the memory itself. ``dense()`` gives a copy of one's own.

        Args:
            op: What it is made for, which tells apart the memories of one place.
        """
        made = self.made_composite
        return self.remember_composite(_compose(self, op)) if made is None else made

    @property
    def made_composite(self) -> Tensor | None:
        """The composite if it was made already and the blocks are as they were then."""
        if self._composite is None or self._composite[0] != self.blocks._version:
            return None
        return self._composite[1]

    def remember_composite(self, dense: Tensor) -> Tensor:
        """Keeps `dense` as the composite of the blocks as they are; returns it."""
        self._composite = self.blocks._version, dense
        return dense

    def dense(self, contiguous: bool = False, op: str = "") -> Tensor:
        """The dense frame (N, C, H, W), a copy of one's own.

        Args:
            op: See ``composite``.
            contiguous: In the order of its shape, as code that takes views of it may expect;
                otherwise channels-last like the blocks.
        """
        memory = torch.contiguous_format if contiguous else torch.channels_last
        return self.composite(op).clone(memory_format=memory)

    def __repr__(self, *, tensor_contents=None) -> str:
        grid = self.frame.grid
        return (
            f"BlockTensor({tuple(self._size)}, {self.dtype}, {grid.count(Level.FULL)} full and "
            f"{grid.count(Level.HALF)} half of {grid.num_images * grid.cells} blocks of "
            f"{self.block[0]}x{self.block[1]})"
        )


class Refusal:
    """What a rule returns for a call it does not cover, which then runs on the composite."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def split(frame: Frame, dense: Tensor, block: Pair) -> BlockTensor:
    """Cuts a dense map into the executed blocks of the frame's grid.

    Args:
        frame: Whose grid decides.
        dense: (N, C, H, W) that the grid covers: H = GH * bh, W = GW * bw.
        block: Block size (bh, bw) in this map.

    Returns:
        The blocks; half-resolution ones are 2x2 means, or of other types than floats each fourth
        pixel.
    """
    grid = frame.grid
    blocks = gather_cells(dense, grid.lines(Level.FULL, block), block[1])
    halves = None
    if grid.has_halves:
        picked = gather_cells(dense, grid.lines(Level.HALF, block), block[1])
        whole = picked.is_floating_point()
        halves = torch.nn.functional.avg_pool2d(picked, 2) if whole else picked[..., ::2, ::2]
    return BlockTensor(frame, (blocks, halves), block)


def doubled(halves: Tensor) -> Tensor:
    """Half-resolution blocks at full resolution: each pixel four times; of any type."""
    if halves.is_floating_point():
        return torch.nn.functional.interpolate(halves, scale_factor=2, mode="nearest")
    return halves.repeat_interleave(2, 2).repeat_interleave(2, 3)


def _compose(x: BlockTensor, op: str) -> Tensor:
    blocks, halves = x.packed
    return compose_levels(x, blocks, None if halves is None else doubled(halves), op)


def compose_levels(x: BlockTensor, blocks: Tensor, enlarged: Tensor | None, op: str = "") -> Tensor:
    """The dense frame of `x`, with these blocks at its full and half cells, all of one size."""
    frame, grid = x.frame, x.frame.grid
    maps = frame.maps(frame.key(f"dense {op}"), x.shape[1:], blocks)
    levels = [(Level.FULL, blocks)]
    if enlarged is not None:
        levels.append((Level.HALF, enlarged))
    for level, packed in levels:
        lines = grid.lines(level, x.block, slotted=True)
        if packed.requires_grad and torch.is_grad_enabled():
            maps = _scatter_recorded(maps, lines, packed)
        elif packed.shape[0]:
            scatter_cells(maps, lines, packed)
    if grid.slots == list(range(maps.shape[0])):
        return maps
    return maps[grid.slot_numbers()]


def _scatter_recorded(dense: Tensor, lines: Tensor, blocks: Tensor) -> Tensor:
    """`scatter_cells` that autograd can follow."""
    n, c, bh, bw = blocks.shape
    s, _, h, w = dense.shape
    flat = dense.permute(0, 2, 3, 1).reshape(-1, bw * c)
    # A copy: autograd keeps it, and the blocks may be written in place afterwards.
    rows = blocks.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)
    flat = flat.index_copy(0, lines.reshape(-1), rows.view(n * bh, bw * c))
    return flat.view(s, h, w, c).permute(0, 3, 1, 2)
