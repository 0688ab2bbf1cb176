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

Size = tuple[int, int]

# Losses that give their value per pixel for reduction_override='none'.
_PER_PIXEL = ("CrossEntropyLoss",)


def main_losses(model: nn.Module) -> list[tuple[nn.Module, list[nn.Module]]]:
    """A segmentor's decode heads, of a cascade in order, each with all loss modules below it."""
    heads = getattr(model, "decode_head", None)
    heads = list(heads) if isinstance(heads, nn.ModuleList) else [heads] if heads else []
    found = []
    for head in heads:
        losses = [getattr(module, "loss_decode", None) for module in head.modules()]
        lists = [list(x) if isinstance(x, nn.ModuleList) else [x] for x in losses if x is not None]
        found.append((head, list(dict.fromkeys(loss for part in lists for loss in part))))
    return found


@cache
def _say_once(kind: str) -> None:
    logger.warning(
        "%s does not say its loss per pixel: SegBlocks' policy learns from the plain cross-entropy "
        "in its place; the network's own loss is unchanged",
        kind,
    )


def _per_pixel(head: nn.Module, module: nn.Module, args: tuple, kwargs: dict) -> Tensor | None:
    """(N, H, W) loss of a call of a loss module; None where it is not of class logits."""
    if len(args) < 2 or args[0].dim() != 4 or args[1].dim() != 3:
        return None
    logits, label = args[0].detach().float(), args[1]
    classes = [getattr(head, name, None) for name in ("out_channels", "num_classes")]
    if any(classes) and logits.shape[1] not in classes:
        return None  # of boundaries, or another map
    if type(module).__name__ in _PER_PIXEL:
        options = {**kwargs, "reduction_override": "none"}
        loss = module.forward(logits, label, *args[2:], **options)
        return loss.sum(1) if loss.dim() == 4 else loss
    _say_once(type(module).__name__)
    ignored = kwargs.get("ignore_index", 255)
    if logits.shape[1] > 1:
        return F.cross_entropy(logits, label, ignore_index=ignored, reduction="none")
    target = (label == 1).float()
    loss = F.binary_cross_entropy_with_logits(logits[:, 0], target, reduction="none")
    return torch.where(label == ignored, 0.0, loss)


@contextmanager
def watch_losses(model: nn.Module) -> Iterator[list[Tensor]]:
    """While it lasts, sees the calls of the heads' losses; afterwards the list is filled.

    With the per-pixel losses (N, H, W) of the last head that has them: the heads of a cascade that
    look at points only have none.
    """
    seen: list[Tensor] = []
    heads = main_losses(model)
    by_head: list[list[Tensor]] = [[] for _ in heads]

    def noted(head: nn.Module, losses: list[Tensor]):
        @torch.no_grad()
        def note(module: nn.Module, args: tuple, kwargs: dict, output) -> None:
            kind = args[0].device.type if args else "cpu"
            with torch.autocast(kind, enabled=False):
                loss = _per_pixel(head, module, args, kwargs)
            if loss is not None:
                losses.append(loss)

        return note

    handles = [
        loss.register_forward_hook(noted(head, losses), with_kwargs=True)
        for (head, modules), losses in zip(heads, by_head, strict=True)
        for loss in modules
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
        seen.extend(next((losses for losses in reversed(by_head) if losses), []))


class LabelPadding:
    """Label maps padded to the size that blocks need, as ignored, and logits cropped back.

    A loss is a mean over pixels, so logits and labels lose the padding again where a head's loss
    takes both; what reads labels elsewhere (at points, relative to the map) finds them padded.

    Args:
        samples: With label maps.
        given: (H, W) of the images.
        size: (H, W) with the padding.
        ignore_index: The label of the padding.
    """

    def __init__(self, samples: list, given: Size, size: Size, ignore_index: int) -> None:
        self.given, self.size, self.lifted = given, size, False
        self.labels: list[tuple] = []
        pads = (0, size[1] - given[1], 0, size[0] - given[0])
        for sample in samples:
            for name, fill in (("gt_sem_seg", ignore_index), ("gt_edge_map", 0)):
                pixels = getattr(sample, name) if name in sample else None
                if pixels is not None and tuple(pixels.data.shape[-2:]) == given != size:
                    self.labels.append((pixels, pixels.data, F.pad(pixels.data, pads, value=fill)))

    def put_on(self) -> None:
        """Pads the labels."""
        for pixels, _, padded in self.labels:
            _replace(pixels, padded)
        self.lifted = False

    def take_off(self) -> None:
        """Puts back the labels as they were."""
        for pixels, given, _ in self.labels:
            _replace(pixels, given)
        self.lifted = True

    def crop(self, logits):
        """Logits (N, C, h, w) without what the padding added; anything else as it is."""
        if not isinstance(logits, Tensor) or logits.dim() != 4:
            return logits
        h, w = (-(-n * g // s) for n, g, s in zip(logits.shape[2:], self.given, self.size))
        return logits[:, :, :h, :w]


def _replace(pixels, data: Tensor) -> None:
    # PixelData refuses a map of another size while it holds one.
    del pixels.data
    pixels.data = data
