"""Channels-last memory for any model."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.utils._pytree import tree_map

from mmdyn.conversion.tracking import (
    RoIAlignMethod,
    StandIn,
    compiled_methods,
    is_roi_align,
    may_call_compiled,
)
from mmdyn.registry import HOOKS


def to_channels_last(model: nn.Module) -> nn.Module:
    """Puts a model's 4-D parameters into channels-last memory, in place; returns it.

    Convolutions then produce channels-last activations, which is what oneDNN and cuDNN are fastest
    at. Compiled operators of mmcv take every tensor for one in the order of its shape and compute
    something else of others (without a word), so modules with such operators get their inputs in
    that order. RoIAlign is mmdyn's own on a CPU (`mmdyn.ops.rois`), which reads them as they are.
    """
    model.to(memory_format=torch.channels_last)
    for module in model.modules():
        if is_roi_align(module):
            StandIn.put_below(module, "forward", RoIAlignMethod(module, "forward"))
            continue
        for name in compiled_methods(module):
            StandIn.put_below(module, name, _Ordered(module, name))
        known = any(isinstance(hook, _OrderedInputs) for hook in module._forward_pre_hooks.values())
        if not compiled_methods(module) and may_call_compiled(module) and not known:
            module.register_forward_pre_hook(_OrderedInputs(), with_kwargs=True)
    return model


def _ordered(values):
    def contiguous(value):
        return value.contiguous() if type(value) is torch.Tensor else value

    return tree_map(contiguous, values)


class _OrderedInputs:
    """Forward pre-hook of modules with compiled operators."""

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return _ordered(args), _ordered(kwargs)


class _Ordered:
    """Stands in for a module's method that calls a compiled operator itself."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self, *args, **kwargs):
        method = getattr(type(self.module), self.name)
        return method(self.module, *_ordered(args), **_ordered(kwargs))


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Puts the model into channels-last memory before training and testing; `to_channels_last`.

    Numerics change only by the order of summation.
    """

    def before_train(self, runner: Runner) -> None:
        to_channels_last(runner.model)

    before_test = before_val = before_train
