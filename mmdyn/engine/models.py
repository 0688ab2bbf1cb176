"""The one line: model functions that build a stock model and convert it."""

from __future__ import annotations

import re
from dataclasses import fields

from mmengine.logging import print_log
from mmengine.model import BaseModel

from mmdyn.conversion import BlockCopyConfig, DynConvConfig, SegBlocksConfig, convert_model
from mmdyn.registry import MODELS


@MODELS.register_module()
def BlockCopy(host: str | None = None, **kwargs) -> BaseModel:
    """Builds a stock model and makes it copy the blocks of a video frame that did not change.

    ``model = dict(type='mmdyn.BlockCopy', host='MaskRCNN', budget=0.3)`` over a stock config.

    Args:
        host (str): Type of the stock model, looked up in the default scope.
        **kwargs: Fields of ``mmdyn.BlockCopyConfig`` (budget, half_budget, block_size, policy,
            learning, max_age, scene_cut, refresh, max_streams, clip_id, strict, replay, motion,
            dense_fallback), and the host's own.

    Returns:
        The host, converted in place: its class is a subclass of the stock one and its
        ``state_dict`` has the stock keys.
    """
    return build_dynamic(host, kwargs, "BlockCopy", BlockCopyConfig)


@MODELS.register_module()
def DynConv(host: str | None = None, **kwargs) -> BaseModel:
    """Builds a stock model and gives each of its residual blocks a gate.

    ``model = dict(type='mmdyn.DynConv', host='MaskRCNN', budget=0.5)`` over a stock config. In
    training the loss dict gains ``loss_sparsity`` and ``density``; the schedules follow the
    runner's iterations. The gates are named ``dynconv_gate``, which ``paramwise_cfg.custom_keys``
    can give a learning rate and no weight decay.

    Args:
        host (str): Type of the stock model, looked up in the default scope.
        **kwargs: Fields of ``mmdyn.DynConvConfig`` (budget, gate, tile, norm, open_init,
            temperature, noise_until, weight, per, settle, skip, gate_frozen, select, execution,
            timings, strict), and the host's own.

    Returns:
        The host, converted in place: its class is a subclass of the stock one and its
        ``state_dict`` has the stock keys and the gates'.
    """
    return build_dynamic(host, kwargs, "DynConv", DynConvConfig)


@MODELS.register_module()
def SegBlocks(host: str | None = None, **kwargs) -> BaseModel:
    """Builds a stock segmentor and makes it run some blocks of an image at half resolution.

    ``model = dict(type='mmdyn.SegBlocks', host='EncoderDecoder', budget=0.4)`` over a stock config.

    Args:
        host (str): Type of the stock model, looked up in the default scope.
        **kwargs: Fields of ``mmdyn.SegBlocksConfig`` (budget, block_size, policy, strict,
            replay), and the host's own.

    Returns:
        The host, converted in place: its class is a subclass of the stock one and its
        ``state_dict`` has the stock keys and those of ``block_policy``.
    """
    return build_dynamic(host, kwargs, "SegBlocks", SegBlocksConfig)


def build_dynamic(host: str | None, arguments: dict, method: str, config: type) -> BaseModel:
    """The stock model of a config line, converted; `config`'s fields are taken out of the rest."""
    names = [f.name for f in fields(config)]
    options = {name: arguments.pop(name) for name in names if name in arguments}
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    model = build_host(host, arguments, method, names)
    report = convert_model(model, config(**options), trial=False)
    if config is DynConvConfig:
        print_log(str(report), logger="current")  # nothing more shows in a frame
    else:
        model.report_first_frame()
    return model


def build_host(
    host: str | None, arguments: dict, method: str, options: list[str] | None = None
) -> BaseModel:
    """The stock model of a config line; names that nobody knows are refused with the remedy.

    Args:
        host: Its type.
        arguments: Its own.
        method: The line's, for messages.
        options: What the line takes itself, for messages.
    """
    with MODELS.switch_scope_and_registry(None) as registry:
        known = registry.get(host) if isinstance(host, str) else None
    if known in (BlockCopy, DynConv, SegBlocks):
        raise ValueError(
            f"mmdyn.{method}: host {host!r} is mmdyn's own; name the stock model there"
        )
    if known is None:
        raise ValueError(
            f"mmdyn.{method}: unknown host {host!r} in scope '{registry.scope}'; give the type of "
            f"the stock model, as in model=dict(type='mmdyn.{method}', host='MaskRCNN')"
        )
    try:
        return MODELS.build(dict(type=host, **arguments))
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None or unknown[1] not in arguments:
            raise
        raise TypeError(
            f"{error}; neither {host} nor mmdyn.{method} knows it, which takes {options or []}"
        ) from error
