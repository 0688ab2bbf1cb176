"""Mixed-precision training where there is no GPU."""

from __future__ import annotations

import logging
from contextlib import contextmanager

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn

from mmdyn.registry import OPTIM_WRAPPERS


class Float32Conv2d(nn.Conv2d):
    """A convolution that autocast leaves in the type of its weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


def keep_depthwise_float32(model: nn.Module) -> int:
    """Keeps dilated depthwise convolutions out of bfloat16 on a CPU; returns how many.

    oneDNN's bfloat16 gradient of their weights is wrong (seen with torch 2.13 on AVX-512 at
    dilations 2 to 12: a relative error of 1, and infinities).
    """
    found = [
        m
        for m in model.modules()
        if type(m) is nn.Conv2d and m.groups == m.in_channels > 1 and max(m.dilation) > 1
    ]
    for module in found:
        module.__class__ = Float32Conv2d
    return len(found)


def has_bfloat16(device: str) -> bool:
    """Whether a type of device computes in bfloat16; a CPU without AVX-512 emulates it slowly."""
    return device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """An optimizer wrapper that runs the forward pass under bfloat16 autocast on any device.

    mmengine's ``AmpOptimWrapper`` refuses to run without an accelerator. bfloat16 has float32's
    range, so no loss scaling is needed; parameters and optimizer state stay float32. On a CPU that
    only emulates bfloat16, far slower than float32, training stays in float32 and says so.

    Args:
        **kwargs: See ``mmengine.optim.OptimWrapper``.
    """

    _told = False

    @contextmanager
    def optim_context(self, model: nn.Module):
        device = next(model.parameters()).device.type
        lower = has_bfloat16(device)
        if not lower and not self._told:
            self._told = True
            print_log(
                "this CPU has no bfloat16 (AVX-512 is missing): training runs in float32",
                logger="current",
                level=logging.WARNING,
            )
        if lower and device == "cpu":
            keep_depthwise_float32(model)
        with super().optim_context(model), torch.autocast(device, torch.bfloat16, enabled=lower):
            yield
