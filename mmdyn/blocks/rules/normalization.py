"""Normalisation: batch norm folds or takes joint statistics, the others see the composite frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.blocks.dispatch import implements
from mmdyn.blocks.grid import Level
from mmdyn.blocks.rules.joint_norm import joint_batch_norm
from mmdyn.blocks.rules.reduction import cell_table, wide
from mmdyn.blocks.tensor import BlockTensor, Refusal


@implements(F.batch_norm, torch.batch_norm)
def batch_norm(
    input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1,
    eps=1e-5,
    *args,
):  # fmt: skip
    if args:  # torch.batch_norm's order of arguments
        return Refusal("called through torch.batch_norm")
    if training or running_mean is None:
        return _trained_batch_norm(input, running_mean, running_var, weight, bias, momentum, eps)
    if input.deferred is not None:
        folded = input.deferred.with_norm((running_mean, running_var, weight, bias, eps))
        if folded is not None:
            return input.like(folded)
    return input.map(
        lambda v: F.batch_norm(v, running_mean, running_var, weight, bias, False, 0.0, eps)
    )


def _trained_batch_norm(x: BlockTensor, running_mean, running_var, weight, bias, momentum, eps):
    """Statistics of the batch; a half-resolution pixel weighs the four that it stands for."""
    if x.frame.memory is not None and running_mean is None:
        # Copied blocks count too: their statistics are remembered, as is done in complete frames.
        means, variances = frame_moments(x, "batch_norm", x.channels)
        mean = means.mean(0, keepdim=True)
        var = variances.mean(0, keepdim=True) + (means - mean).square().mean(0, keepdim=True)
        shape = means.shape
        return _apply(x, mean.expand(shape), var.expand(shape), weight, bias, eps)
    if not all(x.frame.grid.complete):
        return Refusal("batch statistics of a frame with copied blocks")
    return joint_batch_norm(x, running_mean, running_var, weight, bias, momentum, eps)


def frame_moments(x: BlockTensor, op: str, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of the composite frame, (N, groups) each.

    Every cell remembers its own mean and variance; their spread is added, so nothing cancels.
    """

    def moments(v: Tensor) -> Tensor:
        if not v.shape[0]:
            return wide(v).new_empty((0, 2 * groups))
        # By channel, then by group: channels are what lies side by side in memory.
        v = wide(v)
        mean = v.mean((2, 3), keepdim=True)
        var = (v - mean).square().mean((2, 3)).view(-1, groups, x.channels // groups)
        mean = mean.view_as(var)
        whole = mean.mean(2)
        var = var.mean(2) + (mean - whole[:, :, None]).square().mean(2)
        return torch.cat([whole, var], 1)

    blocks, halves = x.packed
    table = cell_table(x, op, [(moments(blocks), None if halves is None else moments(halves))])
    means, variances = table[:, :, :groups], table[:, :, groups:]
    mean = means.mean(1)
    return mean, variances.mean(1) + (means - mean[:, None]).square().mean(1)


def _apply(x: BlockTensor, mean: Tensor, var: Tensor, weight, bias, eps: float) -> BlockTensor:
    """Normalises with (N, G) statistics and (C,) affine parameters."""
    repeat = x.channels // mean.shape[1]
    scale = torch.rsqrt(var + eps).repeat_interleave(repeat, 1)
    mean = mean.repeat_interleave(repeat, 1)
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias
    grid = x.frame.grid
    out: list = []
    for level, v in zip((Level.FULL, Level.HALF), x.packed):
        if v is None:
            out.append(None)
            continue
        images = grid.images(level)
        a, b = scale[images][:, :, None, None], shift[images][:, :, None, None]
        out.append(torch.addcmul(b, v, a).to(v.dtype))
    return x.like((out[0], out[1]))


@implements(F.group_norm)
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    mean, var = frame_moments(input, "group_norm", num_groups)
    return _apply(input, mean, var, weight, bias, eps)


@implements(F.instance_norm)
def instance_norm(
    input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True,
    momentum=0.1, eps=1e-5,
):  # fmt: skip
    if not use_input_stats:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, 0.0, eps)
    if running_mean is not None:
        return Refusal("running statistics of instances")
    mean, var = frame_moments(input, "instance_norm", input.channels)
    return _apply(input, mean, var, weight, bias, eps)


@implements(F.layer_norm)
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Over (C, H, W) of the composite frame; affine parameters of that size are cut to blocks."""
    if tuple(normalized_shape) != tuple(input.shape[1:]):
        return Refusal("not over channels, height and width")
    mean, var = frame_moments(input, "layer_norm", 1)
    out = _apply(input, mean, var, None, None, eps)
    if weight is not None:
        out = out * weight
    return out if bias is None else out + bias


@implements(F.local_response_norm)
def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    return input.map(lambda v: F.local_response_norm(v, size, alpha, beta, k))
