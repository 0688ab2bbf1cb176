"""Choices of a network that are not continuous, repeated, so that what follows can be compared."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from unittest.mock import patch

import torch
from torch import Tensor, nn


def keep_proposals(model: nn.Module, size: tuple[int, int]) -> None:
    """Gives the RoI head some of the first frame's proposals for ever: their choice jumps.

    As many an image pixel as the usual 1000 at 800x1333, so that shares of MACs mean something.
    """
    if type(getattr(model, "rpn_head", None)).__name__ == "EmbeddingRPNHead":
        return  # its proposals are learnt, the same for all images
    count = max(round(1000 * size[0] * size[1] / (800 * 1333)), 4)
    if getattr(model, "roi_head", None) is None or getattr(model, "rpn_head", None) is None:
        return
    kept: list = []

    def repeated(found):
        if not kept:
            kept.append([instances[:count] for instances in found])
        return deepcopy(kept[0])

    for name in ("predict", "predict_by_feat"):
        _wrap(model.rpn_head, name, repeated)


def _wrap(owner: nn.Module, name: str, change: Callable) -> None:
    """Passes what a method of this one object returns through `change`."""
    method = getattr(owner, name, None)
    if method is not None:
        setattr(owner, name, lambda *args, **kwargs: change(method(*args, **kwargs)))


@contextmanager
def same_choices(model: nn.Module, choices: list[Tensor]):
    """Makes top-k, NMS, peaks and masked attention pick what they picked in the first call.

    Which of two nearly equal queries or boxes comes first is not continuous; what follows is.

    Args:
        model: The network.
        choices: Where they are kept, in order; empty before the first call.
    """
    first, count = not choices, 0

    def kept(found: Tensor) -> Tensor:
        nonlocal count
        if first:
            choices.append(found.clone())
        mine = choices[count] if count < len(choices) else found
        count += 1
        return mine.clone()

    def choose(input, k, dim=-1, largest=True, sorted=True):
        at = kept(topk(input, k, dim, largest, sorted)[1])
        return torch.return_types.topk((input.gather(dim, at), at))

    def suppress(boxes, scores, *args, **kwargs):
        found = nms(boxes, scores, *args, **kwargs)
        at = kept(found[1])
        if at.numel() and int(at.max()) >= boxes.shape[0]:
            return found
        return torch.cat([boxes[at], scores[at, None]], 1), at

    def same(a, b):
        peaks = isinstance(b, Tensor) and a.dim() == b.dim() == 4 and a.is_floating_point()
        found = equal(a, b)
        if not peaks:
            return found
        if first:
            choices.append(found.clone())
        # By shape: no two levels of these heads have the same.
        return next((mine.clone() for mine in choices if mine.shape == found.shape), found)

    def masks_of(forward):
        def run(*args, **kwargs):
            scores, masks, attention = forward(*args, **kwargs)
            return scores, masks, kept(attention)

        return run

    topk, equal = torch.topk, Tensor.__eq__
    heads = [m for m in model.modules() if type(m).__name__ == "Mask2FormerHead"]
    with ExitStack() as stack:
        stack.enter_context(patch.object(torch, "topk", choose))
        stack.enter_context(patch.object(Tensor, "topk", choose))
        if any(type(m).__name__.startswith(("SOLO", "DecoupledSOLO")) for m in model.modules()):
            stack.enter_context(patch.object(Tensor, "__eq__", same))
        for head in heads:
            forward = head._forward_head
            stack.enter_context(patch.object(head, "_forward_head", masks_of(forward)))
        for name, module in list(sys.modules.items()):
            if name.startswith("mmdet.") and "batched_nms" in vars(module):
                nms = module.batched_nms
                stack.enter_context(patch.object(module, "batched_nms", suppress))
        yield
