"""Halo exchange between packed blocks, in plain PyTorch.

A *ring store* is a matrix of pixels, (rows, C): row 0 is the value outside the image, then for
every cell the `P` pixels of its block that a neighbour may read: its ring, or the whole block
where the halo is wide. Executed blocks write their ring, then every window reads its halo. A
copied block's ring is the one it wrote when it last ran: the store is the memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def ring_rows(blocks: Tensor, ring: Tensor | None) -> Tensor:
    """The pixels of each block that neighbours may read.

    Args:
        blocks: (n, C, bh, bw), channels-last.
        ring: (P,) int64 positions in the flattened block; None takes all pixels.

    Returns:
        (n * P, C).
    """
    n, c, bh, bw = blocks.shape
    pixels = blocks.permute(0, 2, 3, 1).reshape(n, bh * bw, c)
    if ring is not None:
        pixels = pixels.index_select(1, ring)
    return pixels.reshape(-1, c)


def write_ring(store: Tensor, rows: Tensor, blocks: Tensor, ring: Tensor | None) -> Tensor:
    """Writes the rings of `blocks` into the store, in place unless autograd records.

    Args:
        store: (1 + cells * P, C).
        rows: (n * P,) int64, where each ring pixel goes.
        blocks: (n, C, bh, bw), channels-last.
        ring: see `ring_rows`.

    Returns:
        The store (a new one when autograd records).
    """
    pixels = ring_rows(blocks, ring)
    if torch.is_grad_enabled() and pixels.requires_grad:
        # Autograd keeps the pixels; whole blocks may be written in place afterwards.
        return store.index_copy(0, rows, pixels.clone() if ring is None else pixels)
    return store.index_copy_(0, rows, pixels)


def write_ring_(store: Tensor, rows: Tensor, blocks: Tensor, ring: Tensor | None) -> None:
    """`write_ring` in place."""
    store.index_copy_(0, rows, ring_rows(blocks, ring))


def gather_windows(
    blocks: Tensor, store: Tensor, index: Tensor, places: Tensor, halo: Sequence[int]
) -> Tensor:
    """Blocks with a halo read from the store.

    Args:
        blocks: (n, C, bh, bw), channels-last.
        store: (rows, C), see the module.
        index: (n, L) or (n, L, 4) int64 rows of the store for the L halo pixels; of four rows the
            mean is taken (a half-resolution block beside full-resolution pixels).
        places: (n * L,) int64, where each halo pixel goes in the flattened windows.
        halo: pixels added at the top, bottom, left, right.

    Returns:
        (n, C, top + bh + bottom, left + bw + right), channels-last.
    """
    n, c, bh, bw = blocks.shape
    top, bottom, left, right = halo
    rows = store.index_select(0, index.reshape(-1))
    if index.dim() == 3:
        rows = rows.view(-1, 4, c).mean(1)
    height, width = top + bh + bottom, left + bw + right
    if torch.is_grad_enabled() and (blocks.requires_grad or store.requires_grad):
        padded = torch.nn.functional.pad(
            blocks.permute(0, 2, 3, 1), (0, 0, left, right, top, bottom)
        )
        windows = padded.reshape(-1, c).index_copy(0, places, rows)
        return windows.view(n, height, width, c).permute(0, 3, 1, 2)
    windows = blocks.new_empty((n, height, width, c))
    windows[:, top : top + bh, left : left + bw].copy_(blocks.permute(0, 2, 3, 1))
    windows.view(-1, c).index_copy_(0, places, rows)
    return windows.permute(0, 3, 1, 2)


def spread_windows(
    grads: Tensor, store: Tensor, index: Tensor, places: Tensor, halo: Sequence[int]
) -> Tensor:
    """The adjoint of `gather_windows`.

    Args:
        grads: (n, C, top + bh + bottom, left + bw + right), gradients of the windows.
        store: (rows, C), to which the gradients of the store's rows are added in place.
        index, places, halo: Those that made the windows.

    Returns:
        (n, C, bh, bw) gradients of the blocks, channels-last, in memory of their own.
    """
    n, c, height, width = grads.shape
    top, bottom, left, right = halo
    pixels = grads.permute(0, 2, 3, 1).reshape(-1, c)
    rows = pixels.index_select(0, places)
    if index.dim() == 3:
        rows = (rows / 4).repeat_interleave(4, 0)
    store.index_add_(0, index.reshape(-1), rows)
    inner = grads[:, :, top : height - bottom, left : width - right]
    return inner.clone(memory_format=torch.channels_last)
