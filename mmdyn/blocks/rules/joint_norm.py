"""Batch norm in training over blocks of both resolutions: one mean and variance, by area.

With pixel p of area a_p (1, or 4 at half resolution) over the total A, the statistics are
mean = sum a_p x_p / A and var = sum a_p (x_p - mean)^2 / A. With the normalised x^ and the
gradient g of the output, the input's gradient is
weight / sqrt(var + eps) * (g_p - a_p / A * (sum g + x^_p * sum g x^)); the sums run over all
pixels as they are, because g says already what a half-resolution pixel does to the loss.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.blocks.tensor import BlockTensor

_PER_CHANNEL = (1, -1, 1, 1)
_PIXELS = (0, 2, 3)
HALF_AREA = 4.0  # full-resolution pixels that one at half resolution stands for


def joint_batch_norm(
    x: BlockTensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> BlockTensor:
    """Normalises with the batch's statistics and updates the running ones, if there are any.

    Args:
        x: Blocks of a frame without copied cells.
        running_mean, running_var: Updated in place; None to leave it.
        weight, bias: (C,), or None.
        momentum: Share of the new statistics in the running ones.
        eps: Added to the variance.
        reduce: Sums a tensor over all processes, for synchronised statistics.
    """
    levels = [v for v in x.packed if v is not None and v.shape[0]]
    if reduce is None and len(levels) == 1:  # one resolution: torch's own
        args = (running_mean, running_var, weight, bias, True, momentum, eps)
        return x.map(lambda v: F.batch_norm(v, *args) if v.shape[0] else torch.empty_like(v))
    blocks, halves = x.packed
    halves = blocks[:0] if halves is None else halves
    *out, mean, var, total = _JointNorm.apply(blocks, halves, weight, bias, eps, reduce)
    if running_mean is not None:
        unbiased = var * (total / (total - 1).clamp(min=1))
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    return x.like((out[0], None if x.halves is None else out[1]))


def _wide(v: Tensor) -> Tensor:
    return v if v.dtype in (torch.float32, torch.float64) else v.float()


class _JointNorm(torch.autograd.Function):
    """Keeps only its inputs for the backward pass, like torch's own batch norm."""

    @staticmethod
    def forward(ctx, blocks, halves, weight, bias, eps, reduce):
        reduce = reduce or (lambda sums: sums)
        levels = [(_wide(v), area) for v, area in ((blocks, 1.0), (halves, HALF_AREA))]
        pixels = sum(area * v.numel() / v.shape[1] for v, area in levels)
        first = torch.stack([area * v.sum(_PIXELS) for v, area in levels]).sum(0)
        sums = reduce(torch.cat([first, first.new_tensor([pixels])]))
        total, mean = sums[-1], sums[:-1] / sums[-1]
        centre = mean.view(_PER_CHANNEL)
        squares = [area * (v - centre).square().sum(_PIXELS) for v, area in levels]
        var = reduce(torch.stack(squares).sum(0)) / total
        scale = torch.rsqrt(var + eps)
        ctx.save_for_backward(blocks, halves, weight, mean, scale, total)
        ctx.bias_dtype, ctx.reduce = None if bias is None else bias.dtype, reduce
        gain = scale if weight is None else scale * weight
        shift = -mean * gain if bias is None else bias - mean * gain
        gain, shift = gain.view(_PER_CHANNEL), shift.view(_PER_CHANNEL)
        out = [torch.addcmul(shift, v, gain).to(blocks.dtype) for v, _ in levels]
        ctx.mark_non_differentiable(mean, var, total)
        return *out, mean, var, total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, for_blocks, for_halves, *_):
        blocks, halves, weight, mean, scale, total = ctx.saved_tensors
        centre, gain = mean.view(_PER_CHANNEL), scale.view(_PER_CHANNEL)
        levels = [
            (_wide(g), (_wide(v) - centre) * gain, area)
            for g, v, area in ((for_blocks, blocks, 1.0), (for_halves, halves, HALF_AREA))
        ]
        along = torch.stack([(g * v).sum(_PIXELS) for g, v, _ in levels]).sum(0)
        plain = torch.stack([g.sum(_PIXELS) for g, _, _ in levels]).sum(0)
        both = ctx.reduce(torch.cat([along, plain])) / total
        drift, level = (part.view(_PER_CHANNEL) for part in both.chunk(2))
        factor = gain if weight is None else gain * weight.view(_PER_CHANNEL)
        grads = [
            (factor * (g - area * (level + v * drift))).to(blocks.dtype) for g, v, area in levels
        ]
        for_weight = None if weight is None else along.to(weight.dtype)
        for_bias = plain.to(ctx.bias_dtype) if ctx.bias_dtype else None
        return *grads, for_weight, for_bias, None, None
