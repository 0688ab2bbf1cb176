"""Reductions over channels stay in their cell; over the image, each cell remembers its part."""

from __future__ import annotations

import torch
from torch import Tensor

from mmdyn.blocks.dispatch import RULES, implements
from mmdyn.blocks.grid import Level
from mmdyn.blocks.tensor import BlockTensor, Refusal

T = torch.Tensor


def cell_table(x: BlockTensor, op: str, columns: list[tuple[Tensor, Tensor | None]]) -> Tensor:
    """Numbers per cell, of copied cells as they were when last executed.

    Args:
        x: The blocks they are of.
        op: Names the call in the memory.
        columns: For full and half blocks (n, K) numbers each; several are set side by side.

    Returns:
        (N, cells, sum of K), float32 or float64.
    """
    frame, grid = x.frame, x.frame.grid
    levels = [torch.cat([c[i] for c in columns], 1) for i in (0, 1) if columns[0][i] is not None]
    width = levels[0].shape[1]
    store = frame.rows(frame.key(op), 1, width, levels[0])
    for level, values in zip((Level.FULL, Level.HALF), levels):
        rows = grid.ring_rows(level, 1)
        if values.requires_grad and torch.is_grad_enabled():
            store = store.index_copy(0, rows, values)
        else:
            store.index_copy_(0, rows, values)
    table = store[1:].view(-1, grid.cells, width)
    if grid.slots == list(range(table.shape[0])):
        return table
    return table[grid.slot_numbers()]


def wide(x: Tensor) -> Tensor:
    """At least float32: sums over an image overflow or lose digits in half precision."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _per_level(x: BlockTensor, func) -> tuple[Tensor, Tensor | None]:
    blocks, halves = x.packed
    return func(blocks), None if halves is None else func(halves)


def global_mean(x: BlockTensor) -> Tensor:
    """(N, C, 1, 1): the mean over the composite frame."""
    table = cell_table(x, "mean", [_per_level(x, lambda v: wide(v).mean((2, 3)))])
    return table.mean(1).to(x.dtype)[:, :, None, None]


def global_sum(x: BlockTensor) -> Tensor:
    """(N, C): the sum over the composite frame; a pixel of half resolution counts four times."""
    blocks, halves = _per_level(x, lambda v: wide(v).sum((2, 3)))
    table = cell_table(x, "sum", [(blocks, None if halves is None else 4 * halves)])
    return table.sum(1)


def global_max(x: BlockTensor) -> Tensor:
    """(N, C, 1, 1): the maximum over the composite frame."""
    table = cell_table(x, "max", [_per_level(x, lambda v: wide(v).amax((2, 3)))])
    return table.amax(1).to(x.dtype)[:, :, None, None]


def _axes(dim) -> tuple[int, ...] | None:
    if dim is None:
        return None
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    return tuple(sorted(d % 4 for d in dims))


def _channel_reduction(func, keepdim: bool, x: BlockTensor, *args, **kwargs):
    out = x.map(lambda level: func(level, *args, dim=1, keepdim=True, **kwargs))
    return out if keepdim else out.dense().squeeze(1)


@implements(torch.mean, T.mean)
def mean(input, dim=None, keepdim: bool = False, *, dtype=None):
    axes = _axes(dim)
    if axes == (2, 3) and dtype is None:
        pooled = global_mean(input)
        return pooled if keepdim else pooled.flatten(1)
    if axes == (1,) and dtype is None:
        return _channel_reduction(torch.mean, keepdim, input)
    return Refusal("not over the channels or the image")


@implements(torch.sum, T.sum)
def sum(input, dim=None, keepdim: bool = False, *, dtype=None):
    axes = _axes(dim)
    if axes == (1,) and dtype is None:
        return _channel_reduction(torch.sum, keepdim, input)
    if dtype is None and input.is_floating_point():
        if axes == (2, 3):
            found = global_sum(input).to(input.dtype)
            return found[:, :, None, None] if keepdim else found
        if axes in (None, (0, 1, 2, 3)) and not keepdim:
            return global_sum(input).sum().to(input.dtype)
    return Refusal("not over the channels, the image or everything")


@implements(torch.argmax, T.argmax)
def argmax(input, dim=None, keepdim: bool = False):
    if dim is None or _axes(dim) != (1,):
        return Refusal("not over the channels")
    return _channel_reduction(_first_maximum, keepdim, input)


def _first_maximum(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    """``argmax`` of channels-last maps, in 0.6 of its time."""
    return torch.max(x, dim, keepdim).indices


@implements(torch.amax, T.amax)
def amax(input, dim=(), keepdim: bool = False):
    axes = _axes(dim)
    if axes == (2, 3):
        pooled = global_max(input)
        return pooled if keepdim else pooled.flatten(1)
    if axes == (1,):
        return _channel_reduction(torch.amax, keepdim, input)
    return Refusal("not over the channels or the image")


def _extremum(func):
    def rule(input, *args, dim=None, keepdim: bool = False):
        if args and isinstance(args[0], torch.Tensor):
            return RULES[torch.maximum if func is torch.max else torch.minimum](input, args[0])
        if args:
            dim, keepdim = args[0], (args[1] if len(args) > 1 else keepdim)
        if dim is None or _axes(dim) != (1,):
            return Refusal("not over the channels")
        pairs = [None if v is None else func(v, 1, True) for v in input.packed]
        values, indices = (
            input.like((pairs[0][i], None if pairs[1] is None else pairs[1][i])) for i in (0, 1)
        )
        kind = getattr(torch.return_types, func.__name__)
        if not keepdim:
            values, indices = values.dense().squeeze(1), indices.dense().squeeze(1)
        return kind((values, indices))

    return rule


for _function in (torch.max, T.max):
    RULES[_function] = _extremum(torch.max)
for _function in (torch.min, T.min):
    RULES[_function] = _extremum(torch.min)


@implements(torch.norm, T.norm)
def norm(input, p="fro", dim=None, keepdim: bool = False, out=None, dtype=None):
    if dim is None or _axes(dim) != (1,) or dtype is not None:
        return Refusal("not over the channels")
    return _channel_reduction(
        lambda v, dim, keepdim: torch.norm(v, p, dim, keepdim), keepdim, input
    )


def _softmax(func):
    def rule(input, dim=None, *args, **kwargs):
        if dim is None or _axes(dim) != (1,):
            return Refusal("not over the channels")
        return input.map(lambda level: func(level, 1, *args, **kwargs))

    return rule


for _function in (torch.softmax, T.softmax, torch.log_softmax, T.log_softmax):
    RULES[_function] = _softmax(_function)
for _function in (torch.nn.functional.softmax, torch.nn.functional.log_softmax):
    RULES[_function] = _softmax(_function)


@implements(torch.nn.functional.normalize)
def normalize(input, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out=None):
    if dim not in (1, -3) or out is not None:
        return Refusal("not over the channels")
    return input.map(lambda level: torch.nn.functional.normalize(level, p, 1, eps))
