"""Hooks that tell a frame where in the module tree the forward pass is, and count its MACs."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn
from torch.utils._pytree import tree_map

from mmdyn.blocks import BlockTensor, LaidOutBlocks, Tracker
from mmdyn.blocks.padded import PaddedBlockTensor
from mmdyn.ops.rois import aligns, roi_align

_COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
_NO_PLACE = (
    nn.modules.batchnorm._BatchNorm, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Sigmoid,
    nn.Hardswish, nn.Hardsigmoid, nn.Tanh, nn.Identity, nn.Dropout, nn.Dropout2d,
)  # fmt: skip

# Python packages whose autograd functions need no real memory.
_NOT_COMPILED = ("torch.", "mmcv.cnn.")

# Where a module's own method calls the compiled operator, its other layers keep their blocks.
_COMPILED_METHODS = {"TOODHead": ("deform_sampling",)}


class Enter:
    """Forward pre-hook: pushes the module's path."""

    def __init__(self, tracker: Tracker, path: str) -> None:
        self.tracker, self.path = tracker, path

    def __call__(self, module: nn.Module, args: tuple) -> None:
        if self.tracker.frame is not None:
            self.tracker.stack.append(self.path)


class Leave:
    """Forward hook: pops the path; counts what a convolution or linear layer multiplied.

    A map of one pixel leaves the module with the strides of channels-last: enlarged with others,
    PyTorch makes a channels-first map of it, which takes forty times as long.
    """

    def __init__(self, tracker: Tracker, path: str, counted: bool) -> None:
        self.tracker, self.path, self.counted = tracker, path, counted

    def __call__(self, module: nn.Module, args: tuple, output):
        frame = self.tracker.frame
        if frame is None:
            return None
        if self.tracker.stack:
            self.tracker.stack.pop()
        if self.counted and isinstance(output, torch.Tensor):
            sparse = isinstance(output, (BlockTensor, LaidOutBlocks))
            frame.count(self.path, dense_macs(module, args, output), sparse)
        return _restrided(output) if _is_pixel(output) else None


def _is_pixel(x) -> bool:
    """Whether it is a dense map of one pixel whose strides are not those of channels-last."""
    plain = type(x) is torch.Tensor and x.dim() == 4 and x.shape[2:] == (1, 1)
    return plain and x.is_contiguous() and x.stride(3) != x.shape[1]


def _restrided(pixel: torch.Tensor) -> torch.Tensor:
    channels = pixel.shape[1]
    return pixel.as_strided(pixel.shape, (channels, 1, channels, channels))


def dense_macs(module: nn.Module, args: tuple, output: torch.Tensor) -> float:
    """Multiply-accumulates of one call on a whole map."""
    if isinstance(module, nn.Linear):
        return float(output.numel()) * module.in_features
    per_pixel = module.weight[0].numel()
    if isinstance(module, nn.ConvTranspose2d):
        return float(args[0].numel()) * per_pixel if args else 0.0
    return float(math.prod(output.shape)) * per_pixel


@contextmanager
def counted(module: nn.Module) -> Iterator[dict[str, float]]:
    """While it lasts, sums the multiply-accumulates of the layers below a module, by their path."""
    macs: dict[str, float] = {}

    def note(path: str):
        def hook(layer: nn.Module, inputs: tuple, output) -> None:
            if isinstance(output, torch.Tensor):
                macs[path] = macs.get(path, 0.0) + dense_macs(layer, inputs, output)

        return hook

    handles = [
        layer.register_forward_hook(note(path))
        for path, layer in module.named_modules()
        if isinstance(layer, _COUNTED)
    ]
    try:
        yield macs
    finally:
        for handle in handles:
            handle.remove()


class DenseBoundary:
    """Forward pre-hook of modules whose compiled operators need real memory."""

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict):
        return _densified(type(module).__name__, args, kwargs)


class StandIn:
    """Takes the place of a module's method, until ``detach`` puts back what was there."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module, self.name = module, name
        self.before = vars(module).get(name)

    @staticmethod
    def put_below(module: nn.Module, name: str, method) -> None:
        """Gives a module a method of its own: below what stands in for it now, if anything does."""
        held = vars(module).get(name)
        if held is None:
            module.__dict__[name] = method
        elif isinstance(held, StandIn) and held.before is None:
            held.before = method

    def stock(self, *args, **kwargs):
        """The method itself."""
        return getattr(type(self.module), self.name)(self.module, *args, **kwargs)


class DenseMethod(StandIn):
    """Stands in for a module's method that calls a compiled operator itself."""

    def __call__(self, *args, **kwargs):
        args, kwargs = _densified(self.name, args, kwargs)
        return self.stock(*args, **kwargs)


class RoIAlignMethod(DenseMethod):
    """Stands in for the forward of mmcv's RoIAlign: features are read where they lie.

    mmcv's own on a CPU wants them in the order of their shape, and runs on one thread.
    """

    def __call__(self, input, rois):
        module = self.module
        if isinstance(input, BlockTensor):
            input.frame.went_dense(type(module).__name__, "a compiled operator")
            input = input.composite(type(module).__name__)
        plain = module.pool_mode == "avg" and not module.use_torchvision
        if plain and isinstance(input, torch.Tensor) and aligns(input, rois):
            size = list(module.output_size)
            rest = module.spatial_scale, module.sampling_ratio, module.aligned
            return roi_align(input, rois, size, *rest)
        args, _ = _densified(type(module).__name__, (input, rois), {})
        return self.stock(*args)


def _densified(name: str, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    def dense(value):
        if isinstance(value, (BlockTensor, LaidOutBlocks, PaddedBlockTensor)):
            value.frame.went_dense(name, "a compiled operator")
            value = value.dense(contiguous=True, op=name)
        return value.contiguous() if isinstance(value, torch.Tensor) else value

    return tree_map(dense, args), tree_map(dense, kwargs)


@cache
def _sees_compiled(python_module: str) -> bool:
    """Whether a Python module holds autograd functions of its own, which hand tensors to
    compiled code past torch's functions, where a rule could serve them."""
    for value in vars(sys.modules[python_module]).values():
        owner = value if isinstance(value, type) else getattr(value, "__self__", None)
        function = isinstance(owner, type) and issubclass(owner, torch.autograd.Function)
        if function and not owner.__module__.startswith("torch."):
            return True
    return False


def compiled_methods(module: nn.Module) -> tuple[str, ...]:
    """Names of the module's methods that call compiled operators, if only those do."""
    found = (_COMPILED_METHODS.get(cls.__name__) for cls in type(module).__mro__)
    return next((names for names in found if names), ())


def may_call_compiled(module: nn.Module) -> bool:
    """Whether what a module's class is written in holds compiled operators of its own."""
    homes = {cls.__module__ for cls in type(module).__mro__ if cls.__module__ in sys.modules}
    return any(not home.startswith(_NOT_COMPILED) and _sees_compiled(home) for home in homes)


def guard(module: nn.Module) -> None:
    """Compiled operators that the module may call get dense tensors in the order of their shape."""
    if is_roi_align(module):
        module.__dict__["forward"] = RoIAlignMethod(module, "forward")
        return
    names = compiled_methods(module)
    for name in names:
        module.__dict__[name] = DenseMethod(module, name)
    if not names and may_call_compiled(module):
        module.register_forward_pre_hook(DenseBoundary(), with_kwargs=True)


def is_roi_align(module: nn.Module) -> bool:
    """Whether it is mmcv's RoIAlign; not one that somebody else gave a forward of its own."""
    kind = type(module)
    if (kind.__module__, kind.__name__) != ("mmcv.ops.roi_align", "RoIAlign"):
        return False
    return isinstance(vars(module).get("forward"), (RoIAlignMethod, type(None)))


def attach(model: nn.Module, tracker: Tracker) -> None:
    """Registers the hooks on every module below the model."""
    for path, module in model.named_modules():
        if module is model or isinstance(module, _NO_PLACE):
            continue
        module.register_forward_pre_hook(Enter(tracker, path))
        leave = Leave(tracker, path, isinstance(module, _COUNTED))
        module.register_forward_hook(leave, always_call=True)
        guard(module)


def runs_compiled(module: nn.Module) -> bool:
    """Whether a module or one below it has compiled operators that `attach` guards."""
    for child in module.modules():
        held = (*child._forward_pre_hooks.values(), *vars(child).values())
        if any(isinstance(x, (DenseBoundary, DenseMethod)) for x in held):
            return True
    return False


def detach(model: nn.Module) -> None:
    """Removes them, also from a copied or unpickled model."""
    for module in model.modules():
        take_off(module, (Enter, Leave, DenseBoundary), StandIn)


def take_off(module: nn.Module, hooks: tuple[type, ...], stand_in: type[StandIn]) -> None:
    """Removes a module's forward hooks of these kinds, and puts back the methods stood in for."""
    for name, value in list(module.__dict__.items()):
        if isinstance(value, stand_in):
            del module.__dict__[name]
            if value.before is not None:
                module.__dict__[name] = value.before
    kept = (
        (module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs),
        (module._forward_hooks, module._forward_hooks_with_kwargs,
         module._forward_hooks_always_called),
    )  # fmt: skip
    for found, *flags in kept:
        for number, hook in list(found.items()):
            if isinstance(hook, hooks):
                del found[number]
                for flag in flags:
                    flag.pop(number, None)
