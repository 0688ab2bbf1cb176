"""Convolution and transposed convolution on blocks."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.blocks.deferred import ConvSpec, defer
from mmdyn.blocks.dispatch import implements
from mmdyn.blocks.grid import Level
from mmdyn.blocks.rules.recomputed import conv_recorded
from mmdyn.blocks.rules.spatial import (
    Padding,
    SpatialPlan,
    fill_store,
    pair,
    plan_window,
    unwrap,
    windows_for_conv,
    windows_of,
)
from mmdyn.blocks.tables import Ring
from mmdyn.blocks.tensor import BlockTensor, Refusal


def _compute_dtype(x: BlockTensor) -> torch.dtype:
    """The type a convolution runs in: autocast's where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def taps_pay(plan: SpatialPlan, kernel, groups: int, weight: Tensor, padding: Padding) -> bool:
    """Whether gathering the kernel's taps beats padded windows: tiny blocks, or wide halos."""
    area = kernel[0] * kernel[1]
    depthwise = groups == weight.shape[0] and weight.shape[1] == 1
    if area == 1 or padding.mode != "constant" or padding.value or (groups > 1 and not depthwise):
        return False
    height, width = plan.out_block
    top, bottom, left, right = plan.halo
    growth = (height + top + bottom) * (width + left + right) / (height * width)
    return growth > (area if depthwise else 0.3 * area) or (min(height, width) <= 4 and groups == 1)


@implements(F.conv2d)
def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Windows with exact halos, convolved as a batch; waits for its epilogue where it may."""
    if not isinstance(input, torch.Tensor) or isinstance(weight, BlockTensor):
        return Refusal("a convolution whose weight is a feature map")
    if input.dim() != 4:
        return Refusal("not a batch of images")
    kernel, stride, dilation = tuple(weight.shape[2:]), pair(stride), pair(dilation)
    x, pad = unwrap(input, padding, kernel, dilation)
    if pad is None:
        return Refusal("padding of two kinds")
    plan = plan_window(x, kernel, stride, pad.halo, dilation)
    if isinstance(plan, str):
        return Refusal(plan)
    dtype = _compute_dtype(x)
    if not x.frame.defers:
        if x.frame.memory is None:
            how = (weight, bias, stride, dilation, groups, dtype)
            return x.like(conv_recorded(x, plan.halo, pad, *how), plan.out_block)
        windows = windows_of(x, "conv2d", plan.halo, pad.mode, pad.value)
        out = [
            None if w is None else F.conv2d(w, weight, bias, stride, 0, dilation, groups)
            for w in windows
        ]
        return x.like((out[0], out[1]), plan.out_block)
    key = f"{x.frame.tracker.path}:{id(weight)}"
    spec = ConvSpec(key, weight, bias, stride, dilation, groups, dtype)
    if not x.frame.grid.has_halves and taps_pay(plan, kernel, groups, weight, pad):
        return _conv_taps(x, spec, plan, kernel, pad)
    inputs, aliased = windows_for_conv(x, "conv2d", plan.halo, pad, dtype, groups)
    return x.like(defer(x.frame, spec, inputs, aliased), plan.out_block)


conv2d.takes_padding = True


def _conv_taps(x: BlockTensor, spec: ConvSpec, plan: SpatialPlan, kernel, pad: Padding):
    grid = x.frame.grid
    area = x.block[0] * x.block[1]
    blocks = x.blocks.to(spec.dtype)
    store = fill_store(x, "conv2d", (blocks, None), Ring(None, None, area), 0.0)
    before = (pad.halo[0], pad.halo[2])
    index = grid.taps(x.block, plan.out_block, kernel, spec.stride, before, spec.dilation)
    taps = (grid.count(Level.FULL), *plan.out_block)
    spec = ConvSpec(
        spec.key, spec.weight, spec.bias, spec.stride, spec.dilation, spec.groups, spec.dtype, taps
    )
    return x.like(defer(x.frame, spec, (store, index), aliased=False), plan.out_block)


@lru_cache(maxsize=256)
def _transposed_halo(block: int, kernel: int, stride: int, pad: int, dilation: int):
    """Input pixels before and after a block that its output pixels read."""
    low, high = 0, block - 1
    for row in range(block * stride):
        for tap in range(kernel):
            source, rest = divmod(row + pad - tap * dilation, stride)
            if rest == 0:
                low, high = min(low, source), max(high, source)
    return -low, high - (block - 1)


@implements(F.conv_transpose2d)
def conv_transpose2d(
    input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """A transposed convolution reads its neighbours' pixels too: halo in, crop out."""
    if not isinstance(input, BlockTensor) or isinstance(weight, BlockTensor):
        return Refusal("not plain blocks")
    x = input
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    extra, kernel = pair(output_padding), weight.shape[2:]
    halo, starts = [], []
    for axis in range(2):
        size, step = x.shape[2 + axis], stride[axis]
        reach = dilation[axis] * (kernel[axis] - 1)
        out = (size - 1) * step - 2 * padding[axis] + reach + extra[axis] + 1
        if out != size * step:
            return Refusal(f"{size} px become {out}, not {size * step}")
        args = (kernel[axis], step, padding[axis], dilation[axis])
        reads = [_transposed_halo(x.block[axis], *args)]
        if x.frame.grid.has_halves:
            reads.append(_transposed_halo(x.block[axis] // 2, *args))
        before = max(r[0] for r in reads)
        # As much after the block as before it, so that equal padding at both ends crops it.
        halo += [before, max(before, *(r[1] for r in reads))]
        starts.append(padding[axis] + before * step)
    windows = windows_of(x, "conv_transpose2d", (halo[0], halo[1], halo[2], halo[3]))
    scale = (x.block[0] * stride[0], x.block[1] * stride[1])

    def run(window: Tensor, out_block) -> Tensor:
        full = F.conv_transpose2d(window, weight, bias, stride, starts, extra, groups, dilation)
        cut = full[:, :, : out_block[0], : out_block[1]]
        return cut.contiguous(memory_format=torch.channels_last)

    halves = windows[1]
    half = None if halves is None else run(halves, (scale[0] // 2, scale[1] // 2))
    return x.like((run(windows[0], scale), half), scale)
