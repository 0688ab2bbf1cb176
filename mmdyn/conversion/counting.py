"""Multiply-accumulates per module, of a network that is converted or not."""

from __future__ import annotations

import torch
from torch import nn

from mmdyn.conversion.dynamic import is_converted, runtime_of
from mmdyn.conversion.hosts import host_for
from mmdyn.conversion.tracking import counted


@torch.no_grad()
def count_macs(model: nn.Module, size: tuple[int, int], seed: int = 0) -> dict[str, float]:
    """Runs one frame of noise through a network and counts its convolutions and linear layers.

    Args:
        model: A network in evaluation mode. If it is converted, the frame goes through its policy
            and its streams like any other, and what was executed is counted.
        size: Height and width of the frame in pixels.
        seed: Of the noise: the same seed is the same frame.

    Returns:
        Multiply-accumulates by module path, in the order of their first call.
    """
    host = host_for(model)
    args, kwargs = host.example(model, (8, 8))
    call = host.call(args, kwargs)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, call.image.shape[1], *size, generator=generator)
    shapes = dict.fromkeys(("ori_shape", "img_shape", "pad_shape", "batch_input_shape"), size)
    for sample in args[1] if len(args) > 1 else ():
        sample.set_metainfo({**shapes, "border": (0, size[0], 0, size[1])})
    args, kwargs = call.with_image(noise.to(call.image))
    if "mode" in kwargs:
        kwargs = {**kwargs, "mode": "tensor"}
    if is_converted(model):
        model(*args, **kwargs)
        return dict(runtime_of(model).last_frame.macs)
    with counted(model) as macs:
        model(*args, **kwargs)
    return macs
