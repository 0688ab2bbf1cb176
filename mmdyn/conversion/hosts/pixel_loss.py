"""A segmentor's own loss per pixel, taken where its head computes the mean of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

logger = logging.getLogger(__name__)

# Losses that give their value per pixel for reduction_override='none'.
_PER_PIXEL = ("CrossEntropyLoss",)


def main_losses(model: nn.Module) -> list[nn.Module]:
    """The loss modules of a segmentor's (last) decode head; empty where it has none."""
    head = getattr(model, "decode_head", None)
    if isinstance(head, nn.ModuleList):
        head = head[-1]
    found = getattr(head, "loss_decode", None)
    return list(found) if isinstance(found, nn.ModuleList) else [found] if found else []


@cache
def _say_once(kind: str) -> None:
    logger.warning(
        "%s does not say its loss per pixel: SegBlocks' policy learns from the plain cross-entropy "
        "in its place; the network's own loss is unchanged",
        kind,
    )


def _per_pixel(module: nn.Module, args: tuple, kwargs: dict) -> Tensor | None:
    """(N, H, W) loss of a call of a loss module; None where the call is of another kind."""
    if len(args) < 2 or args[0].dim() != 4 or args[1].dim() != 3:
        return None
    logits, label = args[0].detach(), args[1]
    if type(module).__name__ in _PER_PIXEL:
        options = {**kwargs, "reduction_override": "none"}
        loss = module.forward(logits.float(), label, *args[2:], **options)
        return loss.sum(1) if loss.dim() == 4 else loss
    _say_once(type(module).__name__)
    ignored = kwargs.get("ignore_index", 255)
    return F.cross_entropy(logits.float(), label, ignore_index=ignored, reduction="none")


@contextmanager
def watch_losses(model: nn.Module) -> Iterator[list[Tensor]]:
    """While it lasts, collects the per-pixel losses (N, H, W) of the head's calls of its losses."""
    seen: list[Tensor] = []

    @torch.no_grad()
    def note(module: nn.Module, args: tuple, kwargs: dict, output) -> None:
        kind = args[0].device.type if args else "cpu"
        with torch.autocast(kind, enabled=False):
            loss = _per_pixel(module, args, kwargs)
        if loss is not None:
            seen.append(loss)

    handles = [loss.register_forward_hook(note, with_kwargs=True) for loss in main_losses(model)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def padded_labels(samples: list, size: tuple[int, int], old: tuple[int, int], ignore_index: int):
    """While it lasts, label maps of the image's size `old` are padded to `size`, as ignored."""
    before = []
    try:
        for sample in samples:
            for name in ("gt_sem_seg", "gt_edge_map"):
                data = getattr(sample, name).data if name in sample else None
                if data is None or tuple(data.shape[-2:]) != old or old == size:
                    continue
                pads = (0, size[1] - old[1], 0, size[0] - old[0])
                fill = ignore_index if name == "gt_sem_seg" else 0
                before.append((getattr(sample, name), data))
                _replace(before[-1][0], F.pad(data, pads, value=fill))
        yield
    finally:
        for pixels, data in before:
            _replace(pixels, data)


def _replace(pixels, data: Tensor) -> None:
    # PixelData refuses a map of another size while it holds one.
    del pixels.data
    pixels.data = data
