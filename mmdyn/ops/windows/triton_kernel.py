"""Halo exchange on a GPU: each window pixel is read where it lies, in its block or in the store.

The halo pixels of a window are numbered in raster order, so that a pixel's number follows from its
place and no table of places is read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def halo_rank(y, x, bh, bw, top, bottom, left, right):
    """Number of a halo pixel (y, x), in window coordinates, among its window's."""
    width = left + bw + right
    beside = top * width + (y - top) * (left + right) + tl.where(x < left, x, x - bw)
    below = top * width + bh * (left + right) + (y - top - bh) * width + x
    return tl.where(y < top, y * width + x, tl.where(y < top + bh, beside, below))


@triton.jit
def gather_windows_kernel(
    blocks, store, index, out,
    pixels, channels, halo_count, bh, bw, top, bottom, left, right,
    FOUR: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One tile: PIXELS window pixels by CHANNELS channels."""
    width, height = left + bw + right, top + bh + bottom
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)  # (PIXELS,)
    channel = tl.program_id(1).to(tl.int64) * CHANNELS + tl.arange(0, CHANNELS)  # (CHANNELS,)
    n, rest = pixel // (height * width), pixel % (height * width)
    y, x = rest // width, rest % width
    inside = (y >= top) & (y < top + bh) & (x >= left) & (x < left + bw)
    live = pixel < pixels
    columns = channel[None, :] < channels
    mine = ((n * bh + y - top) * bw + x - left)[:, None] * channels + channel[None, :]
    value = tl.load(blocks + mine, mask=(live & inside)[:, None] & columns, other=0)
    border = live & (inside == 0)
    entry = n * halo_count + halo_rank(y, x, bh, bw, top, bottom, left, right)
    if FOUR:
        total = tl.full((PIXELS, CHANNELS), 0.0, tl.float32)
        for corner in tl.static_range(4):
            row = tl.load(index + entry * 4 + corner, mask=border, other=0)
            at = row[:, None] * channels + channel[None, :]
            total += tl.load(store + at, mask=border[:, None] & columns, other=0).to(tl.float32)
        halo = (total * 0.25).to(value.dtype)
    else:
        row = tl.load(index + entry, mask=border, other=0)
        at = row[:, None] * channels + channel[None, :]
        halo = tl.load(store + at, mask=border[:, None] & columns, other=0)
    value = tl.where(border[:, None], halo, value)
    at = pixel[:, None] * channels + channel[None, :]
    tl.store(out + at, value, mask=live[:, None] & columns)


@triton.jit
def write_ring_kernel(
    store, rows, blocks, ring, count, area, per_block, channels,
    WHOLE: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One tile: PIXELS ring pixels by CHANNELS channels."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)  # (PIXELS,)
    channel = tl.program_id(1).to(tl.int64) * CHANNELS + tl.arange(0, CHANNELS)  # (CHANNELS,)
    live = pixel < count
    place = pixel % per_block
    if not WHOLE:
        place = tl.load(ring + place, mask=live, other=0)
    mask = live[:, None] & (channel[None, :] < channels)
    source = (pixel // per_block * area + place)[:, None] * channels + channel[None, :]
    row = tl.load(rows + pixel, mask=live, other=0)
    value = tl.load(blocks + source, mask=mask, other=0)
    tl.store(store + row[:, None] * channels + channel[None, :], value, mask=mask)


def tile_of(channels: int) -> tuple[int, int]:
    """Pixels and channels of a copying kernel's tile: 4096 numbers, rows as long as they come."""
    wide = min(triton.next_power_of_2(channels), 256)
    return 4096 // wide, wide


def storable(x: Tensor) -> Tensor:
    """The same memory in a type that Triton moves: booleans as bytes."""
    return x.view(torch.uint8) if x.dtype == torch.bool else x


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def gather_windows(
    blocks: Tensor, store: Tensor, index: Tensor, places: Tensor, halo: Sequence[int]
) -> Tensor:
    """See ``reference.gather_windows``."""
    n, c, bh, bw = blocks.shape
    top, bottom, left, right = halo
    out = blocks.new_empty((n, top + bh + bottom, left + bw + right, c))
    pixels = out[..., 0].numel()
    if out.numel():
        tile = tile_of(c)
        with torch.cuda.device_of(blocks):
            gather_windows_kernel[(triton.cdiv(pixels, tile[0]), triton.cdiv(c, tile[1]))](
                storable(channels_last(blocks)), storable(store.contiguous()), index.contiguous(),
                storable(out), pixels, c, index.shape[1], bh, bw, top, bottom, left, right,
                FOUR=index.dim() == 3, PIXELS=tile[0], CHANNELS=tile[1],
            )  # fmt: skip
    return out.permute(0, 3, 1, 2)


def write_ring(store: Tensor, rows: Tensor, blocks: Tensor, ring: Tensor | None) -> None:
    """See ``reference.write_ring``."""
    n, c, bh, bw = blocks.shape
    count = rows.numel()
    if not count or not c:
        return
    tile = tile_of(c)
    with torch.cuda.device_of(blocks):
        write_ring_kernel[(triton.cdiv(count, tile[0]), triton.cdiv(c, tile[1]))](
            storable(store), rows, storable(channels_last(blocks)), rows if ring is None else ring,
            count, bh * bw, count // n, c, WHOLE=ring is None, PIXELS=tile[0], CHANNELS=tile[1],
        )  # fmt: skip


def example_of_gather_windows(device: torch.device, dtype: torch.dtype) -> tuple:
    """Two blocks of 2x3 pixels with a ring of one."""
    blocks = torch.arange(60, device=device).view(2, 5, 2, 3) % 7
    store = torch.arange(40, device=device).view(8, 5) % 5
    index = torch.arange(28, device=device).view(2, 14) % 8
    places = torch.tensor([0, 1, 2, 3, 4, 5, 9, 10, 14, 15, 16, 17, 18, 19], device=device)
    both = torch.cat([places, places + 20])
    return blocks.to(dtype), store.to(dtype), index, both, [1, 1, 1, 1]


def example_of_write_ring(device: torch.device, dtype: torch.dtype) -> tuple:
    """Two pixels of each of two blocks."""
    store = torch.zeros((6, 5), device=device, dtype=dtype)
    blocks = (torch.arange(60, device=device).view(2, 5, 2, 3) % 7).to(dtype)
    rows, ring = torch.tensor([1, 5, 2, 3], device=device), torch.tensor([0, 4], device=device)
    return store, rows, blocks, ring
