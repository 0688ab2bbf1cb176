"""Moves blocks and pixels between a dense map and a packed batch, in plain PyTorch.

Within a line of a channels-last map the pixels of one cell are contiguous, so a block is copied as
`bh` rows of ``bw * C`` numbers. `lines` names those rows: ``(n, bh)`` indices into the map's
``N * H * GW`` rows, as ``BlockGrid.lines`` makes them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _lines_of(dense: Tensor, width: int) -> Tensor:
    """(N, C, H, W) channels-last -> a view (N * H * W / width, width * C)."""
    n, c, h, w = dense.shape
    return dense.permute(0, 2, 3, 1).view(n * h * (w // width), width * c)


def gather_cells(dense: Tensor, lines: Tensor, width: int) -> Tensor:
    """Copies blocks out of a dense map.

    Args:
        dense: (N, C, H, W), any memory format.
        lines: (n, bh) int64, the map's rows that make up each block.
        width: bw, pixels in a block's row; divides W.

    Returns:
        (n, C, bh, bw), channels-last.
    """
    dense = dense.contiguous(memory_format=torch.channels_last)
    n, bh = lines.shape
    rows = _lines_of(dense, width).index_select(0, lines.reshape(-1))
    return rows.view(n, bh, width, dense.shape[1]).permute(0, 3, 1, 2)


def scatter_cells(dense: Tensor, lines: Tensor, blocks: Tensor) -> None:
    """Copies blocks into a dense map, in place.

    Args:
        dense: (N, C, H, W), channels-last contiguous; written to.
        lines: (n, bh) int64, the map's rows that make up each block.
        blocks: (n, C, bh, bw).
    """
    n, c, bh, bw = blocks.shape
    rows = blocks.permute(0, 2, 3, 1).reshape(n * bh, bw * c)
    _lines_of(dense, bw).index_copy_(0, lines.reshape(-1), rows)


def add_rows(rows: Tensor, index: Tensor, values: Tensor, relu: bool) -> None:
    """Adds to some rows, in place.

    Args:
        rows: (R, C), contiguous; written to.
        index: (M,) int64, which of them; each at most once.
        values: (M, C).
        relu: Whether these rows are rectified afterwards.
    """
    sums = rows.index_select(0, index).add_(values)
    rows.index_copy_(0, index, sums.relu_() if relu else sums)
