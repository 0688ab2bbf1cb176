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


def _statistics(v: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, float32 of half types."""
    dtype = v.dtype if v.dtype in (torch.float32, torch.float64) else torch.float32
    running = v.new_zeros(v.shape[1], dtype=dtype), v.new_ones(v.shape[1], dtype=dtype)
    if v.device.type == "cpu":
        return torch.batch_norm_update_stats(v, *running, 0.0)
    var, mean = torch.var_mean(v.to(dtype), _PIXELS, correction=0)
    return mean, var


class _JointNorm(torch.autograd.Function):
    """Keeps only its inputs for the backward pass, like torch's own batch norm."""

    @staticmethod
    def forward(ctx, blocks, halves, weight, bias, eps, reduce):
        reduce = reduce or (lambda sums: sums)
        levels = [(v, a * v.numel() / v.shape[1]) for v, a in _areas(blocks, halves) if v.numel()]
        own = [(*_statistics(v), pixels) for v, pixels in levels]
        pixels = sum(n for *_, n in own)
        first = torch.stack([n * mean for mean, _, n in own]).sum(0)
        sums = reduce(torch.cat([first, first.new_tensor([pixels])]))
        total, mean = sums[-1], sums[:-1] / sums[-1]
        squares = [n * (v + (m - mean).square()) for m, v, n in own]
        var = reduce(torch.stack(squares).sum(0)) / total
        ctx.save_for_backward(blocks, halves, weight, mean, var, total)
        ctx.eps, ctx.bias_dtype, ctx.reduce = eps, None if bias is None else bias.dtype, reduce
        gain, shift = (None if p is None else p.to(mean.dtype) for p in (weight, bias))
        out = [
            F.batch_norm(v, mean, var, gain, shift, False, 0.0, eps) if v.numel() else v.clone()
            for v in (blocks, halves)
        ]
        ctx.mark_non_differentiable(mean, var, total)
        return *out, mean, var, total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, for_blocks, for_halves, *_):
        blocks, halves, weight, mean, var, total = ctx.saved_tensors
        gain = None if weight is None else weight.to(mean.dtype)
        fixed = gain, mean, var, ctx.eps
        own = [_by_fixed(g, v, *fixed) for g, v in ((for_blocks, blocks), (for_halves, halves))]
        along = torch.stack([part for _, part, _ in own]).sum(0)
        plain = torch.stack([part for *_, part in own]).sum(0)
        both = ctx.reduce(torch.cat([along, plain]))
        scale = torch.rsqrt(var + ctx.eps)
        drift, level = (both / total).chunk(2)
        factor = scale if weight is None else scale * gain
        slope = factor * drift * scale  # of x, beside what does not depend on it
        shift = factor * level - slope * mean
        slope, shift = slope.view(_PER_CHANNEL), shift.view(_PER_CHANNEL)
        grads = [  # rounded once: both parts are larger than the gradient itself
            g.addcmul_(v.to(g.dtype), area * slope, value=-1.0).sub_(area * shift).to(v.dtype)
            for (g, *_), (v, area) in zip(own, _areas(blocks, halves))
        ]
        for_weight = None if weight is None else along.to(weight.dtype)
        for_bias = plain.to(ctx.bias_dtype) if ctx.bias_dtype else None
        return *grads, for_weight, for_bias, None, None


def _areas(blocks: Tensor, halves: Tensor) -> tuple[tuple[Tensor, float], ...]:
    return (blocks, 1.0), (halves, HALF_AREA)


def _by_fixed(grad, v, gain, mean, var, eps) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias of a batch norm with given statistics, in their type."""
    if v.numel() == 0:
        return grad.to(mean.dtype), torch.zeros_like(mean), torch.zeros_like(mean)
    grad = grad.to(mean.dtype, memory_format=torch.channels_last)
    return torch.ops.aten.native_batch_norm_backward(
        grad, v.to(mean.dtype), gain, mean, var, None, None, False, eps, [True, True, True]
    )
