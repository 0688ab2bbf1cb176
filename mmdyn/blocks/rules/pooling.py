"""Max and average pooling with windows, and global pooling from remembered block sums."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mmdyn.blocks.dispatch import implements
from mmdyn.blocks.rules.reduction import global_max, global_mean
from mmdyn.blocks.rules.spatial import pair, plan_window, unwrap, windows_of
from mmdyn.blocks.tensor import BlockTensor, Refusal, split


@implements(F.max_pool2d, torch.max_pool2d)
def max_pool2d(
    input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """Outside the image lies -inf."""
    if return_indices:
        return Refusal("indices of the maxima")
    kernel, dilation = pair(kernel_size), pair(dilation)
    stride = pair(stride if stride else kernel)
    x, pad = unwrap(input, padding, kernel, dilation, float("-inf"))
    if pad is None:
        return Refusal("padding of two kinds")
    plan = plan_window(x, kernel, stride, pad.halo, dilation, ceil_mode)
    if isinstance(plan, str):
        return Refusal(plan)
    windows = windows_of(x, "max_pool2d", plan.halo, pad.mode, pad.value)
    out = [None if w is None else F.max_pool2d(w, kernel, stride, 0, dilation) for w in windows]
    return x.like((out[0], out[1]), plan.out_block)


max_pool2d.takes_padding = True
F_MAX_POOL = F._max_pool2d if hasattr(F, "_max_pool2d") else None
implements(F_MAX_POOL)(max_pool2d)


@implements(F.avg_pool2d)
def avg_pool2d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
    divisor_override=None,
):  # fmt: skip
    """Zeros outside; where they are not to be counted, the mean over the pixels inside."""
    kernel = pair(kernel_size)
    stride = pair(stride if stride else kernel)
    x, pad = unwrap(input, padding, kernel, (1, 1))
    if pad is None or (pad.mode == "constant" and pad.value):
        return Refusal("padding of two kinds")
    plan = plan_window(x, kernel, stride, pad.halo, (1, 1), ceil_mode)
    if isinstance(plan, str):
        return Refusal(plan)
    if ceil_mode and plan_window(x, kernel, stride, pad.halo, (1, 1)) != plan:
        return Refusal("windows that hang over the edge")
    windows = windows_of(x, "avg_pool2d", plan.halo, pad.mode)
    out = [
        None if w is None else F.avg_pool2d(w, kernel, stride, divisor_override=divisor_override)
        for w in windows
    ]
    result = x.like((out[0], out[1]), plan.out_block)
    if count_include_pad or divisor_override or not any(pair(padding)):
        return result
    return result / _shares_inside(x, kernel, stride, padding, plan.out_block)


avg_pool2d.takes_padding = True


def _shares_inside(x: BlockTensor, kernel, stride, padding, block) -> BlockTensor:
    """Which share of each output pixel's window lies inside the image, (N, 1, h, w)."""

    def shares(size) -> torch.Tensor:
        ones = torch.ones((1, 1, *size), dtype=x.dtype, device=x.device)
        return F.avg_pool2d(ones, kernel, stride, padding).expand(x.shape[0], -1, -1, -1)

    inside = split(x.frame, shares(x.shape[2:]), block)
    if not x.frame.grid.has_halves:
        return inside
    small = shares([side // 2 for side in x.shape[2:]])
    small = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return x.like((inside.blocks, split(x.frame, small, block).halves), block)


def _output_size(size) -> tuple | None:
    return (size, size) if isinstance(size, int) or size is None else tuple(size)


@implements(F.adaptive_avg_pool2d)
def adaptive_avg_pool2d(input, output_size):
    """To one pixel: remembered block means. To a divisor of the map: ordinary pooling."""
    size = _output_size(output_size)
    if size == (1, 1):
        return global_mean(input)
    return _adaptive(F.avg_pool2d, F.adaptive_avg_pool2d, input, size)


@implements(F.adaptive_max_pool2d)
def adaptive_max_pool2d(input, output_size, return_indices=False):
    size = _output_size(output_size)
    if return_indices:
        return Refusal("indices of the maxima")
    if size == (1, 1):
        return global_max(input)
    return _adaptive(F.max_pool2d, F.adaptive_max_pool2d, input, size)


def _adaptive(pool, adaptive, x: BlockTensor, size: tuple):
    """Pooling to a fixed size: on blocks if its windows tile them, else from the composite."""
    target = tuple(n if s is None else s for s, n in zip(size, x.shape[2:]))
    if target == tuple(x.shape[2:]):
        return x.map(torch.clone)
    ratio = [n // t for n, t in zip(x.shape[2:], target)]
    scale = 2 if x.frame.grid.has_halves else 1
    fits = all(
        n % t == 0 and (b // scale) % r == 0
        for n, t, r, b in zip(x.shape[2:], target, ratio, x.block)
    )
    if fits:
        return pool(x, tuple(ratio))
    x.frame.went_dense(adaptive.__name__, f"windows of {target} cut through blocks")
    return adaptive(x.composite("adaptive_pool"), target)
