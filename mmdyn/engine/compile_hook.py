"""Training with the model's forward compiled by torch.compile."""

from __future__ import annotations

import copy

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmdyn.engine.hooks import model_of
from mmdyn.registry import HOOKS


@HOOKS.register_module()
class CompileHook(Hook):
    """Compiles the model's forward for training; validation and tests run it as it is.

    ``default_hooks = dict(compile=dict(type='mmdyn.CompileHook'))``. Networks whose norms,
    activations and masks take more time than their convolutions gain most. The first iterations
    compile, and so do those after which a schedule changes a constant. mmengine's ``compile=True``
    also compiles the optimizer's step, which fails under PyTorch 2.13.

    Args:
        **kwargs: Of ``torch.compile``.
    """

    # After hooks that change modules or the memory format.
    priority = "LOW"

    def __init__(self, **kwargs) -> None:
        self.kwargs = kwargs

    def before_train(self, runner: Runner) -> None:
        model = model_of(runner)
        model.__dict__["forward"] = _InTraining(model, self.kwargs)

    def after_train(self, runner: Runner) -> None:
        ours = vars(model_of(runner)).get("forward")
        if isinstance(ours, _InTraining):
            ours.take_off()


class _InTraining:
    """Stands in for a model's forward."""

    def __init__(self, model: nn.Module, kwargs: dict) -> None:
        self.own = vars(model).get("forward")  # where it has one besides its class's
        self.plain = model.forward
        self.compiled = torch.compile(model.forward, **kwargs)
        self.model, self.kwargs = model, kwargs

    def __call__(self, *args, **kwargs):
        return (self.compiled if self.model.training else self.plain)(*args, **kwargs)

    def __deepcopy__(self, memo: dict) -> _InTraining:
        """Of a copied model: what is compiled refers to this one's weights."""
        return _InTraining(copy.deepcopy(self.model, memo), self.kwargs)

    def take_off(self) -> None:
        """Gives the model back the forward that it had."""
        del self.model.__dict__["forward"]
        if self.own is not None:
            self.model.__dict__["forward"] = self.own
