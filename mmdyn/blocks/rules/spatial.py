"""What convolutions and pools share: where their windows lie, and how to gather them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from mmdyn.blocks.grid import Level
from mmdyn.blocks.padded import PaddedBlockTensor
from mmdyn.blocks.tables import Halo, Pair
from mmdyn.blocks.tensor import BlockTensor, Packed
from mmdyn.ops.conv import Windows, halo_means, reads_in_place, tiles_serve
from mmdyn.ops.windows import gather_windows, write_ring


def pair(value) -> Pair:
    """An int or a sequence of one or two ints, as torch functions take them."""
    if isinstance(value, int):
        return value, value
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


class Padding(NamedTuple):
    """Padding at the four sides and what it is made of."""

    halo: Halo
    mode: str = "constant"
    value: float = 0.0


class SpatialPlan(NamedTuple):
    """A window operation that keeps cells apart: each output block needs its block and `halo`."""

    halo: Halo
    out_block: Pair


def unwrap(x, padding: Pair | str, kernel: Pair, dilation: Pair, fill: float = 0.0):
    """The blocks under a (lazily padded) input and the total padding, or None if modes mix."""
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation)]
        own: Halo = (
            total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2
        )  # fmt: skip
    else:
        ph, pw = (0, 0) if padding == "valid" else pair(padding)
        own = (ph, ph, pw, pw)
    if not isinstance(x, PaddedBlockTensor):
        return x, Padding(own, "constant", fill)
    if any(own) and (x.pad.mode != "constant" or x.pad.value != fill):
        return x, None
    halo = tuple(a + b for a, b in zip(own, x.pad.halo))
    return x.unpadded, Padding(halo, x.pad.mode, x.pad.value)


def plan_window(
    x: BlockTensor, kernel: Pair, stride: Pair, pad: Halo, dilation: Pair, ceil: bool = False
) -> SpatialPlan | str:
    """Halo and output block of a window operation, or the reason why cells do not stay apart."""
    scales = (1, 2) if x.frame.grid.has_halves else (1,)
    sides = (x.shape[2], x.shape[3])
    return _plan_of(sides, x.block, scales, kernel, stride, pad, dilation, ceil)


@lru_cache(maxsize=1024)
def _plan_of(
    sides: Pair, sizes: Pair, scales: tuple[int, ...], kernel: Pair, stride: Pair, pad: Halo,
    dilation: Pair, ceil: bool,
) -> SpatialPlan | str:  # fmt: skip
    """`plan_window`, of geometry alone."""
    halo, out_block = [], []
    for axis in range(2):
        size, block = sides[axis], sizes[axis]
        before, after = pad[2 * axis], pad[2 * axis + 1]
        reach = dilation[axis] * (kernel[axis] - 1)
        step = stride[axis]
        span = size + before + after - reach - 1
        out = (-(-span // step) if ceil else span // step) + 1
        if ceil and (out - 1) * step >= size + before:
            out -= 1
        if any((block // s) % step or block % s for s in scales) or out * step != size:
            return f"{size} px become {out} at stride {step}, blocks of {block} px do not follow"
        need = block // scales[-1] // step * step - step - before + reach
        need -= block // scales[-1] - 1
        if before > reach:
            return f"padding {before} is wider than the kernel's reach {reach}"
        halo += [before, max(need, 0)]
        out_block.append(block // step)
    return SpatialPlan((halo[0], halo[1], halo[2], halo[3]), (out_block[0], out_block[1]))


def ring_depth(plan_halo: Halo, mode: str, halves: bool) -> Halo:
    """How deep a neighbour looks into a block, at the block's top, bottom, left and right."""
    top, bottom, left, right = plan_halo
    depth = (bottom, top, right, left)
    if mode != "constant":
        reach = max(plan_halo) + (mode == "reflect")
        depth = (reach, reach, reach, reach)
    scale = 2 if halves else 1
    return (depth[0] * scale, depth[1] * scale, depth[2] * scale, depth[3] * scale)


def windows_of(
    x: BlockTensor,
    op: str,
    halo: Halo,
    mode: str = "constant",
    fill: float = 0.0,
    dtype=None,
    enlarge: Callable[[Tensor], Tensor] | None = None,
) -> Packed:
    """The packed blocks with their halo; the blocks themselves where no halo is needed.

    Args:
        x: Blocks.
        op: Names the call in the memory.
        halo: Pixels wanted at the top, bottom, left and right.
        mode: What lies outside the image, see ``blocks.tables.halo_table``.
        fill: Its value under 'constant'.
        dtype: Type of the windows, by default that of `x`.
        enlarge: Makes blocks at full resolution of half-resolution windows, for the halo of full
            blocks beside them; by default each pixel is taken four times.
    """
    blocks, halves = x.packed
    if dtype is not None and dtype != blocks.dtype:
        blocks = blocks.to(dtype)
        halves = None if halves is None else halves.to(dtype)
    if not any(halo):
        return blocks, halves
    shared = enlarge is None  # else halves are written otherwise below
    full, half = located_windows(x, op, (blocks, halves), halo, mode, fill, shared)
    if half is None:
        return gather_windows(*full), None
    windows = gather_windows(*half)
    if enlarge is not None:
        ring = x.frame.grid.ring(x.block, ring_depth(halo, mode, True))
        rows = x.frame.grid.ring_rows(Level.HALF, ring.count)
        full = full._replace(store=write_ring(full.store, rows, enlarge(windows), ring.positions))
    return gather_windows(*full), windows


def located_windows(
    x: BlockTensor, op: str, packed: Packed, halo: Halo, mode: str, fill: float,
    shared: bool = True,
) -> tuple[Windows, Windows | None]:  # fmt: skip
    """The blocks and where their halos lie, after the rings were written; arguments as above."""
    grid = x.frame.grid
    depth = ring_depth(halo, mode, grid.has_halves)
    ring = grid.ring(x.block, depth)
    store = fill_store(x, op, packed, ring, fill, shared)
    blocks, halves = packed
    rows, places = grid.halo(Level.FULL, x.block, halo, depth, mode)
    full = Windows(blocks, store, rows, places, halo)
    if halves is None:
        return full, None
    rows, places = grid.halo(Level.HALF, x.block, halo, depth, mode)
    return full, Windows(halves, store, rows, places, halo)


def windows_for_conv(
    x: BlockTensor, op: str, halo: Halo, padding: Padding, dtype, groups: int
) -> tuple[tuple, bool]:
    """What a convolution reads, and whether that is somebody's blocks rather than a copy."""
    blocks, halves = x.packed
    if not any(halo) or not reads_in_place(blocks.to(dtype), groups):
        windows = windows_of(x, op, halo, padding.mode, padding.value, dtype)
        return windows, not any(halo)
    packed = blocks.to(dtype), None if halves is None else halves.to(dtype)
    full, half = located_windows(x, op, packed, halo, padding.mode, padding.value)
    if half is not None and not tiles_serve(half, groups):  # Triton's kernels take one row
        store, rows = halo_means(half.store, half.rows)
        half = half._replace(store=store, rows=rows)
    return (full, half), True


def fill_store(
    x: BlockTensor, op: str, packed: Packed, ring, fill: float, shared: bool = True
) -> Tensor:
    """This call's ring store with the executed blocks' rings written.

    Args:
        x: Gives the frame and the channels.
        op: Names the call in the memory.
        packed: Blocks and halves.
        ring: Which of their pixels neighbours read.
        fill: What lies outside the image.
        shared: The store may be that of an earlier call on the same blocks.
    """
    frame, grid = x.frame, x.frame.grid
    blocks, halves = packed
    shared = shared and frame.memory is not None and not torch.is_grad_enabled()
    where = (ring.positions, ring.count)
    store = frame.rings.find(packed, where, fill) if shared else None
    if store is not None:
        return store
    store = frame.rows(frame.key(op), ring.count, x.channels, blocks, fill)
    store = write_ring(store, grid.ring_rows(Level.FULL, ring.count), blocks, ring.positions)
    if halves is not None:
        rows = grid.ring_rows(Level.HALF, ring.count)
        store = write_ring(store, rows, halves, ring.halved)
    if shared:
        frame.rings.note(packed, where, fill, store)
    return store
