"""Convolution with autograd: windows are made again for the backward pass instead of kept.

A window is a block with its halo: a copy of what the network holds anyway. Kept for every
convolution, the copies cost more memory than the half-resolution blocks save.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.blocks.frame import Frame
from mmdyn.blocks.grid import BlockGrid, Level
from mmdyn.blocks.rules.spatial import Padding, ring_depth
from mmdyn.blocks.tables import Halo, Pair
from mmdyn.blocks.tensor import Packed
from mmdyn.ops.windows import gather_windows, spread_windows, write_ring


class Halos(NamedTuple):
    """Where the windows of a grid's blocks get their halos from.

    Attributes:
        grid: The decision.
        block: Size of a full-resolution block.
        halo: Pixels at the top, bottom, left and right.
        mode: What lies outside the image, see ``blocks.tables.halo_table``.
        fill: Its value under 'constant'.
    """

    grid: BlockGrid
    block: Pair
    halo: Halo
    mode: str
    fill: float

    def levels(self, packed: Packed):
        """Of each level: its blocks, ring rows and positions, halo rows and places."""
        grid, halves = self.grid, packed[1] is not None
        depth = ring_depth(self.halo, self.mode, halves)
        ring = grid.ring(self.block, depth)
        for level, blocks in zip((Level.FULL, Level.HALF), packed):
            if blocks is not None:
                rows = grid.ring_rows(level, ring.count)
                where = grid.halo(level, self.block, self.halo, depth, self.mode)
                positions = ring.positions if level == Level.FULL else ring.halved
                yield blocks, rows, positions, *where

    def windows(self, packed: Packed) -> list[Tensor]:
        """The windows of the levels."""
        if not any(self.halo):
            return [blocks for blocks in packed if blocks is not None]
        blocks = packed[0]
        store = blocks.new_empty((self._store_rows(packed), blocks.shape[1]))
        store[0] = self.fill
        for level, rows, positions, *_ in self.levels(packed):
            store = write_ring(store, rows, level, positions)
        return [
            gather_windows(level, store, index, places, self.halo)
            for level, _, _, index, places in self.levels(packed)
        ]

    def _store_rows(self, packed: Packed) -> int:
        depth = ring_depth(self.halo, self.mode, packed[1] is not None)
        slots = max(self.grid.slots) + 1
        return 1 + slots * self.grid.cells * self.grid.ring(self.block, depth).count

    def spread(self, packed: Packed, grads: list[Tensor]) -> list[Tensor]:
        """The levels' gradients of their windows' ones."""
        if not any(self.halo):
            return grads
        store = grads[0].new_zeros((self._store_rows(packed), grads[0].shape[1]))
        spread = [
            spread_windows(grad, store, index, places, self.halo)
            for grad, (_, _, _, index, places) in zip(grads, self.levels(packed))
        ]
        for out, (_, rows, positions, *_) in zip(spread, self.levels(packed)):
            n, c, height, width = out.shape
            if n == 0:
                continue
            pixels = store.index_select(0, rows).view(n, -1, c)
            flat = out.permute(0, 2, 3, 1).view(n, height * width, c)
            if positions is None:
                flat.add_(pixels)
            else:
                flat.index_add_(1, positions, pixels)
        return spread


def _convolved(packed: Packed, weight: Tensor, bias, halos: Halos, how: tuple) -> list[Tensor]:
    stride, dilation, groups = how
    return [F.conv2d(w, weight, bias, stride, 0, dilation, groups) for w in halos.windows(packed)]


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, blocks, halves, weight, bias, halos: Halos, how: tuple):
        out = _convolved((blocks, halves), weight, bias, halos, how)
        ctx.save_for_backward(blocks, halves, weight)
        ctx.halos, ctx.how = halos, how
        ctx.bias = None if bias is None else list(bias.shape)
        return tuple(out)

    @staticmethod
    def backward(ctx, *grads):
        blocks, halves, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again
            return *_followed(ctx, blocks, halves, weight, grads), None, None
        stride, dilation, groups = ctx.how
        wanted = ctx.needs_input_grad
        mask = [wanted[0] or wanted[1], wanted[2], wanted[3]]
        made = []
        for grad, window in zip(grads, ctx.halos.windows((blocks, halves))):
            made.append(
                torch.ops.aten.convolution_backward(
                    grad, window, weight, ctx.bias, stride, (0, 0), dilation, False, (0, 0),
                    groups, mask,
                )
            )  # fmt: skip
        out: list[Tensor | None] = [None, None]
        if mask[0]:
            spread = ctx.halos.spread((blocks, halves), [of_window for of_window, *_ in made])
            out[: len(spread)] = spread
        for i in (1, 2):
            out.append(sum(part[i] for part in made) if mask[i] else None)
        return *out, None, None


def _followed(ctx, blocks, halves, weight, grads) -> list[Tensor | None]:
    """The gradients by operators that autograd follows."""
    out = _convolved((blocks, halves), weight, None, ctx.halos, ctx.how)
    wanted = [i for i in range(3) if ctx.needs_input_grad[i]]
    inputs = [(blocks, halves, weight)[i] for i in wanted]
    found: list[Tensor | None] = [None] * 4
    if inputs:
        made = torch.autograd.grad(out, inputs, grads, create_graph=True, allow_unused=True)
        for i, grad in zip(wanted, made):
            found[i] = grad
    if ctx.needs_input_grad[3]:
        found[3] = sum(grad.sum((0, 2, 3)) for grad in grads)
    return found


def conv_recorded(
    frame: Frame, packed: Packed, block: Pair, halo: Halo, padding: Padding, weight: Tensor,
    bias: Tensor | None, stride: Pair, dilation: Pair, groups: int, dtype: torch.dtype,
) -> Packed:  # fmt: skip
    """Convolved blocks that autograd follows, of a frame all of whose cells run.

    Args:
        frame: Its grid decides.
        packed: Blocks of both levels.
        block: Size of a full-resolution block.
        halo: What the convolution reads around a block.
        padding: Its mode and value count.
        weight, bias: The convolution's, with the rest of its arguments.
        dtype: Type to compute in; casts are followed too.
    """
    blocks, halves = (None if level is None else level.to(dtype) for level in packed)
    weight = weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    halos = Halos(frame.grid, block, halo, padding.mode, padding.value)
    with torch.autocast(weight.device.type, enabled=False):
        out = _Conv.apply(blocks, halves, weight, bias, halos, (stride, dilation, groups))
    return out[0], out[1] if len(out) > 1 else None
