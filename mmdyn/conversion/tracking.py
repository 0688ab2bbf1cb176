"""Hooks that tell a frame where in the module tree the forward pass is, and count its MACs."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils._pytree import tree_map

from mmdyn.blocks import BlockTensor, Tracker

_COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
_NO_PLACE = (
    nn.modules.batchnorm._BatchNorm, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Sigmoid,
    nn.Hardswish, nn.Hardsigmoid, nn.Tanh, nn.Identity, nn.Dropout, nn.Dropout2d,
)  # fmt: skip


class Enter:
    """Forward pre-hook: pushes the module's path."""

    def __init__(self, tracker: Tracker, path: str) -> None:
        self.tracker, self.path = tracker, path

    def __call__(self, module: nn.Module, args: tuple) -> None:
        if self.tracker.frame is not None:
            self.tracker.stack.append(self.path)


class Leave:
    """Forward hook: pops the path; counts what a convolution or linear layer multiplied."""

    def __init__(self, tracker: Tracker, path: str, counted: bool) -> None:
        self.tracker, self.path, self.counted = tracker, path, counted

    def __call__(self, module: nn.Module, args: tuple, output) -> None:
        frame = self.tracker.frame
        if frame is None:
            return
        if self.tracker.stack:
            self.tracker.stack.pop()
        if self.counted and isinstance(output, torch.Tensor):
            macs = dense_macs(module, args, output)
            share = frame.grid.executed_share if isinstance(output, BlockTensor) else 1.0
            frame.macs[self.path] = frame.macs.get(self.path, 0.0) + macs * share
            frame.dense_macs += macs
            if isinstance(output, BlockTensor):
                frame.sparse_macs += macs


def dense_macs(module: nn.Module, args: tuple, output: torch.Tensor) -> float:
    """Multiply-accumulates of one call on a whole map."""
    if isinstance(module, nn.Linear):
        return float(output.numel()) * module.in_features
    per_pixel = module.weight[0].numel()
    if isinstance(module, nn.ConvTranspose2d):
        return float(args[0].numel()) * per_pixel if args else 0.0
    count = 1.0
    for side in output.shape:
        count *= side
    return count * per_pixel


class DenseBoundary:
    """Forward pre-hook of modules whose compiled operators need real memory."""

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict):
        def dense(value):
            if not isinstance(value, BlockTensor):
                return value
            value.frame.went_dense(type(module).__name__, "a compiled operator")
            return value.dense().contiguous()

        return tree_map(dense, args), tree_map(dense, kwargs)


def _is_compiled(module: nn.Module) -> bool:
    return type(module).__module__.startswith("mmcv.ops")


def attach(model: nn.Module, tracker: Tracker) -> None:
    """Registers the hooks on every module below the model."""
    for path, module in model.named_modules():
        if module is model or isinstance(module, _NO_PLACE):
            continue
        module.register_forward_pre_hook(Enter(tracker, path))
        leave = Leave(tracker, path, isinstance(module, _COUNTED))
        module.register_forward_hook(leave, always_call=True)
        if _is_compiled(module):
            module.register_forward_pre_hook(DenseBoundary(), with_kwargs=True)


def detach(model: nn.Module) -> None:
    """Removes them, also from a copied or unpickled model."""
    for module in model.modules():
        for hooks, flags in (
            (module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs),
            (module._forward_hooks, module._forward_hooks_always_called),
        ):
            for number, hook in list(hooks.items()):
                if isinstance(hook, (Enter, Leave, DenseBoundary)):
                    del hooks[number]
                    flags.pop(number, None)
