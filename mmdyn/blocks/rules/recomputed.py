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
from mmdyn.blocks.grid import Level
from mmdyn.blocks.rules.spatial import Padding, ring_depth, windows_of
from mmdyn.blocks.tables import Halo, Pair
from mmdyn.blocks.tensor import BlockTensor, Packed
from mmdyn.ops.windows import spread_windows


class Place(NamedTuple):
    """Where a convolution's windows lie.

    Attributes:
        frame: Its grid decides; it has no memory.
        block: Size of a full-resolution block.
        halo: Pixels at the top, bottom, left and right.
        padding: Its mode and value count.
    """

    frame: Frame
    block: Pair
    halo: Halo
    padding: Padding

    def windows(self, packed: Packed) -> list[Tensor]:
        """The windows of the levels that there are."""
        x = BlockTensor(self.frame, packed, self.block)
        made = windows_of(x, "conv2d", self.halo, self.padding.mode, self.padding.value)
        return [window for window in made if window is not None]

    def spread(self, grads: list[Tensor]) -> list[Tensor]:
        """The levels' gradients of their windows' ones: the adjoint of `windows`."""
        if not any(self.halo):
            return grads
        grid = self.frame.grid
        depth = ring_depth(self.halo, self.padding.mode, grid.has_halves)
        ring, slots = grid.ring(self.block, depth), max(grid.slots) + 1
        store = grads[0].new_zeros((1 + slots * grid.cells * ring.count, grads[0].shape[1]))
        levels = list(zip((Level.FULL, Level.HALF), grads))
        spread = []
        for level, grad in levels:
            rows, places = grid.halo(level, self.block, self.halo, depth, self.padding.mode)
            spread.append(spread_windows(grad, store, rows, places, self.halo))
        for (level, _), out in zip(levels, spread):
            positions = ring.positions if level == Level.FULL else ring.halved
            _add_ring(out, store.index_select(0, grid.ring_rows(level, ring.count)), positions)
        return spread


def _add_ring(blocks: Tensor, pixels: Tensor, positions: Tensor | None) -> None:
    """Adds the rings' pixels to those of the blocks, in place: the adjoint of `ring_rows`."""
    n, c, height, width = blocks.shape
    if n == 0:
        return
    flat, rings = blocks.permute(0, 2, 3, 1).view(n, height * width, c), pixels.view(n, -1, c)
    if positions is None:
        flat.add_(rings)
    else:
        flat.index_add_(1, positions, rings)


def _convolved(packed: Packed, weight: Tensor, bias, place: Place, how: tuple) -> list[Tensor]:
    stride, dilation, groups = how
    return [F.conv2d(w, weight, bias, stride, 0, dilation, groups) for w in place.windows(packed)]


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, blocks, halves, weight, bias, place: Place, how: tuple):
        out = _convolved((blocks, halves), weight, bias, place, how)
        ctx.save_for_backward(blocks, halves, weight)
        ctx.place, ctx.how = place, how
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
        for grad, window in zip(grads, ctx.place.windows((blocks, halves))):
            made.append(
                torch.ops.aten.convolution_backward(
                    grad, window, weight, ctx.bias, stride, (0, 0), dilation, False, (0, 0),
                    groups, mask,
                )
            )  # fmt: skip
        out: list[Tensor | None] = [None, None]
        if mask[0]:
            spread = ctx.place.spread([of_window for of_window, *_ in made])
            out[: len(spread)] = spread
        for i in (1, 2):
            out.append(sum(part[i] for part in made) if mask[i] else None)
        return *out, None, None


def _followed(ctx, blocks, halves, weight, grads) -> list[Tensor | None]:
    """The gradients by operators that autograd follows."""
    out = _convolved((blocks, halves), weight, None, ctx.place, ctx.how)
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
    x: BlockTensor, halo: Halo, padding: Padding, weight: Tensor, bias: Tensor | None, stride: Pair,
    dilation: Pair, groups: int, dtype: torch.dtype,
) -> Packed:  # fmt: skip
    """Convolved blocks that autograd follows, of a frame all of whose cells run.

    Args:
        x: Blocks.
        halo: What the convolution reads around a block.
        padding: Its mode and value count.
        weight, bias: The convolution's, with the rest of its arguments.
        dtype: Type to compute in; casts are followed too.
    """
    blocks, halves = (None if level is None else level.to(dtype) for level in x.packed)
    weight = weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    place = Place(x.frame, x.block, halo, padding)
    with torch.autocast(weight.device.type, enabled=False):
        out = _Conv.apply(blocks, halves, weight, bias, place, (stride, dilation, groups))
    return out[0], out[1] if len(out) > 1 else None
