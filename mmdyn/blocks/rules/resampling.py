"""Interpolation with the neighbours' pixels, so that no seam shows between cells."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.blocks.dispatch import implements
from mmdyn.blocks.grid import Level
from mmdyn.blocks.recording import fixed
from mmdyn.blocks.rules.spatial import pair, windows_of
from mmdyn.blocks.tensor import BlockTensor, Refusal, compose_levels
from mmdyn.ops.pictures import enlarge


def _target(x: BlockTensor, size, scale_factor, recompute) -> tuple | str:
    """The output size and the scales that the kernel uses (None: from the sizes)."""
    if size is not None:
        return tuple(
            int(s) for s in (pair(size) if not isinstance(size, int) else (size, size))
        ), None
    factors = (
        tuple(float(s) for s in scale_factor)
        if isinstance(scale_factor, (tuple, list))
        else (float(scale_factor), float(scale_factor))
    )
    target = tuple(int(n * f) for n, f in zip(x.shape[2:], factors))
    return target, None if recompute else factors


@implements(F.interpolate)
def interpolate(
    input, size=None, scale_factor=None, mode="nearest", align_corners=None,
    recompute_scale_factor=None, antialias=False,
):  # fmt: skip
    """Nearest by whole factors needs no neighbour; bilinear and bicubic take a halo."""
    if not isinstance(input, BlockTensor) or antialias:
        return Refusal("antialiasing")
    x = input
    target, factors = _target(x, size, scale_factor, recompute_scale_factor)
    if target == tuple(x.shape[2:]) and factors in (None, (1.0, 1.0)):
        return x.map(torch.clone)
    block = []
    for axis in range(2):
        if (target[axis] * x.block[axis]) % x.shape[2 + axis]:
            return Refusal(f"{tuple(x.shape[2:])} to {target}: blocks do not scale to whole pixels")
        block.append(target[axis] * x.block[axis] // x.shape[2 + axis])
    if factors and any(int(n * f) != n * f for n, f in zip(x.shape[2:], factors)):
        return Refusal("a scale factor that does not give whole pixels")
    if x.frame.grid.has_halves and any(b % 2 for b in block):
        return Refusal("half-resolution blocks do not scale to whole pixels")
    if mode in ("nearest", "nearest-exact"):
        return _nearest(x, (block[0], block[1]), mode)
    if mode == "bilinear" and not align_corners and _whole_factor(x, block):
        return _bilinear_up(x, (block[0], block[1]))
    if mode in ("bilinear", "bicubic"):
        return _by_matrices(x, target, (block[0], block[1]), mode, bool(align_corners))
    return Refusal(f"mode '{mode}'")


def _whole_factor(x: BlockTensor, block) -> bool:
    return all(b >= a and b % a == 0 for a, b in zip(x.block, block))


def _nearest(x: BlockTensor, block, mode: str):
    down = all(a % b == 0 for a, b in zip(x.block, block))
    if not _whole_factor(x, block) and not down:
        return Refusal("nearest by a factor that is not whole")
    scale = tuple(b / a for a, b in zip(x.block, block))

    def resize(v: Tensor) -> Tensor:
        size = tuple(round(n * s) for n, s in zip(v.shape[2:], scale))
        if v.shape[0] == 0:
            return v.new_empty((0, v.shape[1], *size))
        return F.interpolate(v, size, mode=mode)

    return x.map(resize, block)


def _bilinear_up(x: BlockTensor, block):
    """By whole factors, from windows with one pixel more."""
    factor = (block[0] // x.block[0], block[1] // x.block[1])
    blocks, halves = windows_of(x, "interpolate", _ONE, "replicate", enlarge=_doubled_smoothly)
    return x.like(
        (enlarge(blocks, *factor), None if halves is None else enlarge(halves, *factor)), block
    )


_ONE = (1, 1, 1, 1)


def _doubled_smoothly(windows: Tensor) -> Tensor:
    """Half-resolution blocks at full resolution, from their windows with a halo of one pixel."""
    return enlarge(windows, 2, 2)


def smooth(x: BlockTensor) -> Tensor:
    """The dense frame (N, C, H, W) for outputs: half-resolution blocks are enlarged bilinearly.

    They see their neighbours, so that no seam shows. ``x.composite()`` shows each of their pixels
    four times instead, as the blocks beside them see it.
    """
    if x.halves is None or x.frame.memory is not None or not x.is_floating_point():
        return x.dense()  # with a memory, as it was composed for the copied blocks
    _, windows = windows_of(x, "smooth", _ONE, "replicate")
    return compose_levels(x, x.blocks, _doubled_smoothly(windows))


@lru_cache(maxsize=256)
def _weights(cells: int, block: int, out: int, mode: str, align: bool, device: torch.device):
    """One axis: (cells, out, block + 2 * halo) interpolation weights of each cell, and the halo.

    The whole-axis matrix is what torch's kernel makes of unit vectors; each cell takes its part.
    """
    size, target = cells * block, cells * out
    eye = torch.eye(size, dtype=torch.float64, device=device)[
        None, :, :, None
    ]  # (1, size, size, 1)
    full = F.interpolate(eye, (target, 1), mode=mode, align_corners=align)[0, :, :, 0].t()
    touched = full != 0
    where = torch.arange(size, device=device)
    low = torch.where(touched, where, size).amin(1).view(cells, out).amin(1)
    high = torch.where(touched, where, -1).amax(1).view(cells, out).amax(1)
    first = torch.arange(cells, device=device) * block
    halo = int(torch.maximum(first - low, high - (first + block - 1)).clamp(min=0).amax())
    padded = F.pad(full, (halo, halo)).view(cells, out, -1)
    columns = first[:, None] + torch.arange(block + 2 * halo, device=device)
    parts = padded.gather(2, columns[:, None, :].expand(-1, out, -1))
    return fixed(parts), halo


def _by_matrices(x: BlockTensor, target, block, mode: str, align: bool):
    """Any ratio: each cell's rows and columns have their own weights."""
    grid, device = x.frame.grid, x.device
    if grid.has_halves:
        return Refusal("half-resolution blocks between corners that are aligned")
    rows, top = _weights(grid.size[0], x.block[0], block[0], mode, align, device)
    cols, left = _weights(grid.size[1], x.block[1], block[1], mode, align, device)
    if max(top, left) > max(x.block):
        return Refusal("a kernel wider than a block")
    windows, _ = windows_of(x, "interpolate", (top, top, left, left), "replicate")
    cell = grid.members[Level.FULL] % grid.cells
    dtype = windows.dtype if windows.dtype == torch.float64 else torch.float32
    a = rows[cell // grid.size[1]].to(dtype)  # (n, out_h, in_h)
    b = cols[cell % grid.size[1]].to(dtype)
    v = windows.permute(0, 2, 3, 1).to(dtype)  # (n, h, w, C)
    n, h, w, c = v.shape
    with torch.autocast(device.type, enabled=False):
        v = torch.bmm(a, v.reshape(n, h, w * c)).view(n * block[0], w, c)
        v = torch.bmm(b.repeat_interleave(block[0], 0), v).view(n, block[0], block[1], c)
    return x.like((v.to(windows.dtype).permute(0, 3, 1, 2), None), block)


@implements(F.grid_sample)
def grid_sample(input, grid, *args, **kwargs):
    return Refusal("sampling at free positions")
