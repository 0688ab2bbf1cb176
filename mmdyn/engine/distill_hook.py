"""Knowledge distillation: a trained network teaches the one in training."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn

from mmdyn.engine.hooks import model_of
from mmdyn.engine.inference import build_model, read_config
from mmdyn.engine.memory_format import to_channels_last
from mmdyn.registry import HOOKS

_LOSSES = ("kl", "mse")


@HOOKS.register_module()
class DistillHook(Hook):
    """Adds ``loss_distill`` to the losses: how far a layer's output is from the teacher's.

    ``default_hooks = dict(distill=dict(type='mmdyn.DistillHook', teacher='dense.py',
    checkpoint='dense.pth', layers=('head.fc',)))``. What DynConv and SegBlocks skip costs accuracy,
    and the dense network's answers win some of it back in the same number of epochs. The teacher
    sees the student's batch as the student's preprocessor made it, in evaluation mode; it is in no
    checkpoint of the student. Hinton et al., Distilling the Knowledge in a Neural Network,
    https://arxiv.org/abs/1503.02531.

    Args:
        teacher (str): Config of the teacher, a file or ``mmdet::FOLDER/FILE.py``.
        checkpoint (str): Its weights.
        layers (tuple[str]): Paths of modules, the same in both, whose outputs are compared: a
            tensor, or a tuple of tensors, in one or several calls an iteration.
        loss (str): 'kl' compares softmax scores over the second dimension, 'mse' the values.
            Default 'kl'.
        weight (float): Factor. Default 1.0.
        temperature (float): Of 'kl': divides the scores; the loss is multiplied by its square, so
            that its gradients stay of one size. Default 4.0.
        compiled (bool): Run the teacher through ``torch.compile``. Default False.
    """

    def __init__(
        self,
        teacher: str,
        checkpoint: str,
        layers: tuple[str, ...] | list[str],
        loss: str = "kl",
        weight: float = 1.0,
        temperature: float = 4.0,
        compiled: bool = False,
    ) -> None:
        if loss not in _LOSSES:
            raise ValueError(f"loss must be one of {_LOSSES}, got {loss!r}")
        if isinstance(layers, str) or not layers or len(set(layers)) < len(layers):
            raise ValueError(f"layers must be a list of different module paths, got {layers!r}")
        if not (temperature > 0 and weight >= 0):
            raise ValueError(
                "temperature must be above 0 and weight at least 0, got "
                f"{temperature!r} and {weight!r}"
            )
        self.teacher, self.checkpoint, self.layers = teacher, checkpoint, tuple(layers)
        self.loss, self.weight, self.temperature = loss, weight, temperature
        self.compiled = compiled
        self._handles: list[Any] = []
        self._model: nn.Module | None = None
        self._run: Any = None  # the model, or its compiled form
        self._taught: dict[str, list[Tensor]] | None = None  # of the iteration in progress
        self._said: dict[str, list[Tensor]] = {}  # by the teacher
        self._learned: dict[str, list[Tensor]] = {}

    def before_train(self, runner: Runner) -> None:
        self.after_train(runner)
        student = model_of(runner)
        device = next(student.parameters()).device
        scope = DefaultScope.get_current_instance()
        try:
            model = build_model(read_config(self.teacher), self.checkpoint, str(device))
        finally:
            if scope is not None:  # the training's, which the teacher's config changes
                init_default_scope(scope.scope_name)
        self._model = to_channels_last(model).requires_grad_(False)
        self._run = torch.compile(self._model) if self.compiled else self._model
        for path in self.layers:
            self._listen(self._model, "teacher", path, self._said)
            self._listen(student, "student", path, self._learned)
        self._handles += [
            student.register_forward_pre_hook(self._ask, with_kwargs=True),
            student.register_forward_hook(self._compare, with_kwargs=True),
        ]

    def after_train(self, runner: Runner) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._model, self._run, self._taught = [], None, None, None
        self._said.clear()
        self._learned.clear()

    def _listen(self, model: nn.Module, whose: str, path: str, heard: dict) -> None:
        try:
            module = model.get_submodule(path)
        except AttributeError as error:
            children = [name for name, _ in model.named_children()]
            raise ValueError(
                f"DistillHook: the {whose}, {type(model).__name__}, has no module {path!r}; "
                f"layers are paths below {children}"
            ) from error

        def keep(module: nn.Module, args: tuple, output: Any) -> None:
            if model is self._model or self._taught is not None:
                # Copies: what follows the layer may overwrite its output.
                heard.setdefault(path, []).extend(tensor.clone() for tensor in _tensors(output))

        self._handles.append(module.register_forward_hook(keep))

    @torch.no_grad()
    def _ask(self, student: nn.Module, args: tuple, kwargs: dict) -> None:
        """Before the student's losses: the teacher on the same batch."""
        self._taught = None
        if not student.training or kwargs.get("mode", "tensor") != "loss":
            return
        assert self._model is not None
        self._said.clear()
        self._learned.clear()
        self._run(*args, **{**kwargs, "mode": "tensor"})
        self._taught = dict(self._said)

    def _compare(self, student: nn.Module, args: tuple, kwargs: dict, losses: Any) -> Any:
        taught, self._taught = self._taught, None
        if taught is None or not isinstance(losses, dict):
            return None
        self._said.clear()
        total = losses.get("loss_distill", 0.0)  # of another hook
        for path in self.layers:
            distance = self._distance(path, self._learned.pop(path, []), taught.get(path, []))
            total = total + self.weight / len(self.layers) * distance
        return {**losses, "loss_distill": total}

    def _distance(self, path: str, learned: list[Tensor], taught: list[Tensor]) -> Tensor:
        """The mean over a layer's outputs."""
        shapes = [[tuple(t.shape) for t in outputs] for outputs in (learned, taught)]
        if not learned or shapes[0] != shapes[1]:
            raise ValueError(
                f"DistillHook: {path} gave {shapes[0]} in the student and {shapes[1]} in the "
                "teacher; name a layer that both run in training and that has the same shape in "
                "both"
            )
        if torch.is_grad_enabled() and not any(tensor.requires_grad for tensor in learned):
            raise ValueError(
                f"DistillHook: nothing learns from {path}: it is frozen, or runs in a checkpointed "
                "block (with_cp); name a layer outside of such"
            )
        if self.loss == "kl" and any(len(shape) < 2 or shape[1] < 2 for shape in shapes[0]):
            raise ValueError(
                f"DistillHook: loss='kl' compares scores over the second dimension, and {path} "
                f"gives {shapes[0]}; take loss='mse' for it"
            )
        pairs = [(a.float(), b.float()) for a, b in zip(learned, taught)]
        if self.loss == "mse":
            return torch.stack([F.mse_loss(a, b) for a, b in pairs]).mean()
        return torch.stack([self._divergence(a, b) for a, b in pairs]).mean()

    def _divergence(self, learned: Tensor, taught: Tensor) -> Tensor:
        """Kullback-Leibler of softened scores (N, classes, ...), the mean over positions."""
        heat = self.temperature
        got, wanted = (learned / heat).log_softmax(1), (taught / heat).softmax(1)
        return heat**2 * F.kl_div(got, wanted, reduction="none").sum(1).mean()


def _tensors(output: Any) -> list[Tensor]:
    """The tensors of a module's output, in order."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, (tuple, list)):
        return [tensor for part in output for tensor in _tensors(part)]
    return []
