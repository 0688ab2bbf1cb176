"""A stock network becomes a dynamic one, in place, and back; one handler per kind of config."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from torch import nn

from mmdyn.conversion.dynamic import is_converted, make_static, runtime_of
from mmdyn.conversion.report import ConversionReport

logger = logging.getLogger(__name__)

_LITTLE = 0.5  # of the arithmetic on blocks, below which the user is told

# From the config's class to what prepares a model for it; a method's module adds its own.
HANDLERS: dict[type, Callable[[nn.Module, Any], None]] = {}


def handles(config: type):
    """Registers the decorated function to convert a model by this kind of config."""

    def register(handler: Callable[[nn.Module, Any], None]):
        HANDLERS[config] = handler
        return handler

    return register


def convert_model(model: nn.Module, config: Any, trial: bool = True) -> ConversionReport:
    """Makes a network spatially adaptive; which method, the config says.

    The model is changed in place: its class becomes a subclass of its own, weights and
    ``state_dict`` keys stay.

    Args:
        model: Any convolutional network whose first 4-D argument is the image (N, C, H, W).
        config: What to convert to, such as ``mmdyn.BlockCopyConfig``.
        trial: Run one small frame of noise to fill the report.

    Returns:
        What was changed, what will run on blocks, what dense and why; prints as a table.

    Raises:
        TypeError: For an unknown config.
        ValueError: If the model is converted already, or of a kind that cannot be.
        NotImplementedError: With ``strict``, if the trial calls a function without a block rule.
    """
    handler = HANDLERS.get(type(config))
    if handler is None:
        known = ", ".join(kind.__name__ for kind in HANDLERS)
        raise TypeError(f"convert_model takes one of {known}, got {type(config).__name__}")
    if is_converted(model):
        raise ValueError(
            f"{type(model).__name__} is converted already; call mmdyn.restore_model(model) first"
        )
    try:
        handler(model, config)
        report = runtime_of(model).inspect(model, trial)
        _tell_of_little(report)
        return report
    except BaseException:
        if is_converted(model):
            restore_model(model)
        raise


def _tell_of_little(report: ConversionReport) -> None:
    share = report.sparse_mac_share
    if share is not None and share < _LITTLE:
        logger.warning(
            "only %.0f%% of the multiply-accumulates of %s run on blocks: it will hardly be "
            "faster; the report that convert_model returns says what runs dense and why",
            100 * share, report.model,
        )  # fmt: skip


def restore_model(model: nn.Module) -> nn.Module:
    """Makes a converted model the stock model again, bit for bit; returns it."""
    runtime_of(model).undo(model)
    make_static(model)
    return model


def reset(model: nn.Module, stream=None) -> None:
    """Forgets a stream (or all): its next frame runs all blocks.

    Args:
        model: A converted model.
        stream: The clip's name, as the data or ``clip_id`` gave it; None for all.
    """
    runtime_of(model).reset(stream)
