"""A stock network becomes a dynamic one, in place, and back."""

from __future__ import annotations

from functools import cache

from torch import nn

from mmdyn.conversion.config import BlockCopyConfig
from mmdyn.conversion.hosts import host_for
from mmdyn.conversion.replay import install, remove
from mmdyn.conversion.report import ConversionReport, inspect
from mmdyn.conversion.runtime import BlockCopyRuntime
from mmdyn.conversion.tracking import attach, detach
from mmdyn.policies import build_policy

_RUNTIME = "_mmdyn_runtime"


class BlockCopyMixin:
    """Comes before the host's class: every call in evaluation mode is a frame."""

    def forward(self, *args, **kwargs):
        runtime = runtime_of(self)
        if runtime.host.runs_dense(self, args, kwargs):
            return super().forward(*args, **kwargs)
        return runtime.run(super().forward, args, kwargs)

    def __reduce_ex__(self, protocol):
        """Pickles by the host's class: the generated one has no module to be found in."""
        _, _, *state = super().__reduce_ex__(max(protocol, 2))
        return _blank, (type(self).__mro__[2],), *state


@cache
def dynamic_class(host: type) -> type:
    """``BlockCopy<Host>``: the host's class with BlockCopyMixin before it."""
    return type(
        f"BlockCopy{host.__name__}", (BlockCopyMixin, host), {"__module__": host.__module__}
    )


def _blank(host: type) -> nn.Module:
    cls = dynamic_class(host)
    return cls.__new__(cls)


def runtime_of(model: nn.Module) -> BlockCopyRuntime:
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


def convert_model(
    model: nn.Module, config: BlockCopyConfig, trial: bool = True
) -> ConversionReport:
    """Makes a network execute only the blocks of a video frame that its policy picks.

    The model is changed in place: its class becomes a subclass of its own, weights and
    ``state_dict`` keys stay. In training mode it runs as before.

    Args:
        model: Any convolutional network whose first 4-D argument is the image (N, C, H, W).
        config: What to convert to.
        trial: Run one small frame of noise to fill the report.

    Returns:
        What was changed, what will run on blocks, what dense and why; prints as a table.

    Raises:
        TypeError: For an unknown config.
        ValueError: If the model is converted already, or of a kind that cannot be.
        NotImplementedError: With ``strict``, if the trial calls a function without a block rule.
    """
    if not isinstance(config, BlockCopyConfig):
        raise TypeError(f"convert_model takes a BlockCopyConfig, got {type(config).__name__}")
    if is_converted(model):
        raise ValueError(
            f"{type(model).__name__} is converted already; call mmdyn.restore_model(model) first"
        )
    host = host_for(model)
    host.check(model)
    runtime = BlockCopyRuntime(config, host, _policy(config))
    model.__class__ = dynamic_class(type(model))
    model.__dict__[_RUNTIME] = runtime
    attach(model, runtime.tracker)
    if config.replay:
        install(model, runtime.tracker)
    try:
        return inspect(model, runtime, trial)
    except BaseException:
        restore_model(model)
        raise


def _policy(config: BlockCopyConfig):
    policy = build_policy(config.policy)
    policy.learning = config.learning
    return policy


def restore_model(model: nn.Module) -> nn.Module:
    """Makes a converted model the stock model again, bit for bit; returns it."""
    runtime_of(model)
    remove(model)
    detach(model)
    del model.__dict__[_RUNTIME]
    model.__class__ = type(model).__mro__[2]
    return model


def reset(model: nn.Module, stream=None) -> None:
    """Forgets a stream (or all): its next frame runs all blocks.

    Args:
        model: A converted model.
        stream: The clip's name, as the data or ``clip_id`` gave it; None for all.
    """
    runtime_of(model).reset(stream)
