"""What all methods share: the generated class of a converted model, and what it keeps."""

from __future__ import annotations

from functools import cache
from typing import Protocol

import torch
from mmengine.logging import print_log
from torch import nn

from mmdyn.conversion.report import ConversionReport

_RUNTIME = "_mmdyn_runtime"
_UNTOLD = "_mmdyn_untold"


class Runtime(Protocol):
    """What a converted model keeps besides its weights, whatever the method."""

    def reset(self, stream=None) -> None:
        """Forgets a stream or all; does nothing for a method without memory."""

    def undo(self, model: nn.Module) -> None:
        """Takes everything off the model's modules that the conversion put there."""

    def inspect(self, model: nn.Module, trial: bool) -> ConversionReport:
        """What was converted, after a trial if one is asked for."""


class DynamicMixin:
    """Comes before the host's class in every generated class; a method's mixin extends it."""

    method = ""

    def report_first_frame(self) -> None:
        """Logs what the first call shows: what runs on blocks, what dense and why."""
        self.__dict__[_UNTOLD] = True

    def announce(self) -> None:
        """To be called after every frame, see `report_first_frame`."""
        frame = runtime_of(self).last_frame
        if frame is not None and self.__dict__.pop(_UNTOLD, False):
            report = runtime_of(self).inspect(self, trial=False).read(frame)
            print_log(str(report), logger="current")

    def refuse_export(self) -> None:
        """To be called before every forward: a graph would keep the decisions of one input."""
        if torch.jit.is_tracing() or _is_exporting():
            raise NotImplementedError(
                f"{host_class(self).__name__} is converted ({self.method}) and decides anew for "
                "every input what to compute: torch.jit.trace, torch.onnx.export and torch.export "
                "would write the decisions of one input into the graph; export the stock network, "
                "after mmdyn.restore_model on the model that was converted"
            )

    def __reduce_ex__(self, protocol):
        """Pickles by the host's class: the generated one has no module to be found in."""
        _, _, *state = super().__reduce_ex__(max(protocol, 2))
        mixin, host = type(self).__mro__[1], host_class(self)
        return _blank, (mixin, host), *state


# PyTorch before 2.7 does not tell an export from a compilation.
_is_exporting = getattr(torch.compiler, "is_exporting", lambda: False)


@cache
def dynamic_class(mixin: type[DynamicMixin], host: type) -> type:
    """``<Method><Host>``: the host's class with a method's mixin before it."""
    name = f"{mixin.method}{host.__name__}"
    return type(name, (mixin, host), {"__module__": host.__module__, "mmdyn_host": host})


def host_class(model: nn.Module) -> type:
    """The stock class of a converted model."""
    return type(model).mmdyn_host  # type: ignore[attr-defined]


def _blank(mixin: type[DynamicMixin], host: type) -> nn.Module:
    cls = dynamic_class(mixin, host)
    return cls.__new__(cls)


def make_dynamic(model: nn.Module, mixin: type[DynamicMixin], runtime: Runtime) -> None:
    """Changes the model's class and gives it the runtime."""
    model.__class__ = dynamic_class(mixin, type(model))
    model.__dict__[_RUNTIME] = runtime


def make_static(model: nn.Module) -> None:
    """Undoes `make_dynamic`."""
    del model.__dict__[_RUNTIME]
    model.__dict__.pop(_UNTOLD, None)
    model.__class__ = host_class(model)


def runtime_of(model: nn.Module):
    """The runtime of a converted model.

    Raises:
        ValueError: If the model is not converted.
    """
    runtime = model.__dict__.get(_RUNTIME)
    if runtime is None:
        raise ValueError(
            f"{type(model).__name__} is not converted: call mmdyn.convert_model(model, "
            "mmdyn.BlockCopyConfig(...)) first"
        )
    return runtime


def is_converted(model: nn.Module) -> bool:
    """Whether ``convert_model`` was called on the model."""
    return _RUNTIME in getattr(model, "__dict__", {})
