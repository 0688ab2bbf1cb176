"""Blocks out of dense maps and back on a GPU: rows of pixels, copied."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmdyn.ops.windows.triton_kernel import channels_last, storable


@triton.jit
def copy_rows_kernel(
    source, target, rows, count, length,
    SCATTER: tl.constexpr, ROWS: tl.constexpr, LENGTH: tl.constexpr,
):  # fmt: skip
    """One tile of rows: row i of the packed side is row rows[i] of the dense side."""
    packed = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)  # (ROWS,)
    place = tl.program_id(1).to(tl.int64) * LENGTH + tl.arange(0, LENGTH)  # (LENGTH,)
    live = packed < count
    dense = tl.load(rows + packed, mask=live, other=0)
    if SCATTER:
        read, write = packed, dense
    else:
        read, write = dense, packed
    mask = live[:, None] & (place[None, :] < length)
    value = tl.load(source + read[:, None] * length + place[None, :], mask=mask, other=0)
    tl.store(target + write[:, None] * length + place[None, :], value, mask=mask)


def _copy(source: Tensor, target: Tensor, lines: Tensor, length: int, scatter: bool) -> None:
    count = lines.numel()
    if not count or not length:
        return
    wide = min(triton.next_power_of_2(length), 1024)
    tall = 4096 // wide
    with torch.cuda.device_of(source):
        copy_rows_kernel[(triton.cdiv(count, tall), triton.cdiv(length, wide))](
            storable(source), storable(target), lines.contiguous(), count, length,
            SCATTER=scatter, ROWS=tall, LENGTH=wide,
        )  # fmt: skip


def gather_cells(dense: Tensor, lines: Tensor, width: int) -> Tensor:
    """See ``reference.gather_cells``."""
    n, bh = lines.shape
    out = dense.new_empty((n, bh, width, dense.shape[1]))
    _copy(channels_last(dense), out, lines, width * dense.shape[1], scatter=False)
    return out.permute(0, 3, 1, 2)


def scatter_cells(dense: Tensor, lines: Tensor, blocks: Tensor) -> None:
    """See ``reference.scatter_cells``."""
    _copy(channels_last(blocks), dense, lines, blocks.shape[3] * blocks.shape[1], scatter=True)


def example_of_gather_cells(device: torch.device, dtype: torch.dtype) -> tuple:
    """Two of four cells of 2x2 pixels."""
    dense = (torch.arange(80, device=device).view(1, 5, 4, 4) % 7).to(dtype)
    return dense, torch.tensor([[1, 3], [4, 6]], device=device), 2


def example_of_scatter_cells(device: torch.device, dtype: torch.dtype) -> tuple:
    """Two of four cells of 2x2 pixels."""
    dense = torch.zeros((1, 5, 4, 4), device=device, dtype=dtype)
    blocks = (torch.arange(40, device=device).view(2, 5, 2, 2) % 7).to(dtype)
    lines = torch.tensor([[1, 3], [4, 6]], device=device)
    return dense.contiguous(memory_format=torch.channels_last), lines, blocks
