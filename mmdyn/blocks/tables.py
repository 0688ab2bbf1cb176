"""Index tables that depend on geometry alone: made once, shared by all frames and layers.

All coordinates are pixels of one feature map cut into (GH, GW) cells of (bh, bw) pixels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from mmdyn.blocks.recording import fixed

Pair = tuple[int, int]
Halo = tuple[int, int, int, int]  # top, bottom, left, right


class Ring(NamedTuple):
    """Which pixels of a block its neighbours may read.

    Attributes:
        positions: (P,) int64 in the flattened block, or None for all of them.
        lookup: (bh * bw,) int64, a pixel's place among the P, -1 if it has none.
        count: P.
        halved: (P,) int64, where each of the P lies in the flattened block at half resolution;
            None if the block has no half.
    """

    positions: Tensor | None
    lookup: Tensor
    count: int  # type: ignore[assignment]
    halved: Tensor | None = None


class HaloTable(NamedTuple):
    """Where the halo of every cell comes from.

    Attributes:
        rows: (cells, L) or (cells, L, 4) int64, row of the store before the image's offset is
            added: 1 + cell * P + place; 0 outside the image.
        places: (L,) int64, the halo pixels in the flattened window.
        area: Pixels of a window.
    """

    rows: Tensor
    places: Tensor
    area: int


@lru_cache(maxsize=1024)
def ring_table(block: Pair, depth: Halo, device: torch.device) -> Ring:
    """The ring of a block: `depth` pixels deep at its top, bottom, left and right."""
    bh, bw = block
    top, bottom, left, right = depth
    y, x = torch.arange(bh, device=device)[:, None], torch.arange(bw, device=device)[None, :]
    inside = (y < top) | (y >= bh - bottom) | (x < left) | (x >= bw - right)
    positions = inside.flatten().nonzero().flatten()
    halved = None
    if bh % 2 == 0 and bw % 2 == 0:
        halved = fixed(positions // bw // 2 * (bw // 2) + positions % bw // 2)
    if positions.numel() == bh * bw:
        return Ring(None, torch.arange(bh * bw, device=device), bh * bw, halved)
    lookup = torch.full((bh * bw,), -1, dtype=torch.int64, device=device)
    lookup[positions] = torch.arange(positions.numel(), device=device)
    return Ring(fixed(positions), lookup, positions.numel(), halved)


def _resolve(coords: Tensor, size: int, mode: str) -> Tensor:
    """Coordinates outside [0, size): -1 under 'constant', moved inside under the others."""
    if mode == "constant":
        return torch.where((coords < 0) | (coords >= size), -1, coords)
    if mode == "replicate":
        return coords.clamp(0, size - 1)
    if mode == "reflect":
        coords = coords.abs()
        return torch.where(coords >= size, 2 * (size - 1) - coords, coords)
    return coords % size  # circular


def _store_rows(ys: Tensor, xs: Tensor, grid: Pair, block: Pair, ring: Ring, mode: str) -> Tensor:
    """Store rows of the pixels (ys, xs), any equal shapes; 0 where they lie outside the image."""
    (gh, gw), (bh, bw) = grid, block
    ys, xs = _resolve(ys, gh * bh, mode), _resolve(xs, gw * bw, mode)
    outside = (ys < 0) | (xs < 0)
    ys, xs = ys.clamp(min=0), xs.clamp(min=0)
    cell = (ys // bh) * gw + xs // bw
    place = ring.lookup[(ys % bh) * bw + xs % bw]
    return torch.where(outside, 0, 1 + cell * ring.count + place)


def _origins(grid: Pair, block: Pair, device: torch.device) -> tuple[Tensor, Tensor]:
    cells = torch.arange(grid[0] * grid[1], device=device)
    return (cells // grid[1]) * block[0], (cells % grid[1]) * block[1]


@lru_cache(maxsize=1024)
def halo_table(
    grid: Pair, block: Pair, halo: Halo, depth: Halo, mode: str, halves: bool, device: torch.device
) -> HaloTable:
    """The halo of every cell's window.

    Args:
        grid: Cells per image, rows and columns.
        block: Size of a full-resolution block.
        halo: Pixels around a block, in the window's own resolution.
        depth: The ring's depth, see `ring_table`.
        mode: Outside the image: 'constant' (row 0), 'replicate', 'reflect' or 'circular'.
        halves: The windows are half resolution; each halo pixel is four full-resolution ones.
        device: Where the tables lie.
    """
    ring = ring_table(block, depth, device)
    scale = 2 if halves else 1
    bh, bw = block[0] // scale, block[1] // scale
    top, bottom, left, right = halo
    height, width = top + bh + bottom, left + bw + right
    wy, wx = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    border = (wy < top) | (wy >= top + bh) | (wx < left) | (wx >= left + bw)
    places = border.flatten().nonzero().flatten()
    py, px = places // width - top, places % width - left
    oy, ox = _origins(grid, (bh, bw), device)
    ys, xs = oy[:, None] + py, ox[:, None] + px
    if not halves:
        return HaloTable(_store_rows(ys, xs, grid, block, ring, mode), places, height * width)
    ys, xs = _resolve(ys, grid[0] * bh, mode), _resolve(xs, grid[1] * bw, mode)
    outside = ((ys < 0) | (xs < 0))[..., None]
    corner = torch.arange(4, device=device)
    rows = _store_rows(
        2 * ys.clamp(min=0)[..., None] + corner // 2,
        2 * xs.clamp(min=0)[..., None] + corner % 2,
        grid, block, ring, "constant",
    )  # fmt: skip
    return HaloTable(torch.where(outside, 0, rows), places, height * width)


@lru_cache(maxsize=256)
def tap_table(
    grid: Pair, block: Pair, out: Pair, kernel: Pair, stride: Pair, pad: Pair, dilation: Pair,
    device: torch.device,
) -> Tensor:  # fmt: skip
    """(cells, out_h * out_w, kh * kw) rows under each kernel tap of a store of whole blocks."""
    ring = Ring(None, torch.arange(block[0] * block[1], device=device), block[0] * block[1])
    oy, ox = _origins(grid, block, device)
    y = torch.arange(out[0], device=device) * stride[0] - pad[0]
    x = torch.arange(out[1], device=device) * stride[1] - pad[1]
    ty = torch.arange(kernel[0], device=device) * dilation[0]
    tx = torch.arange(kernel[1], device=device) * dilation[1]
    ys = oy[:, None, None] + y[None, :, None] + ty[None, None, :]  # (cells, oh, kh)
    xs = ox[:, None, None] + x[None, :, None] + tx[None, None, :]
    shape = (ys.shape[0], out[0], out[1], kernel[0], kernel[1])
    ys = ys[:, :, None, :, None].expand(shape).reshape(shape[0], out[0] * out[1], -1)
    xs = xs[:, None, :, None, :].expand(shape).reshape(shape[0], out[0] * out[1], -1)
    return _store_rows(ys, xs, grid, block, ring, "constant")
