"""Dropout in training: draws for the image what torch would, and cuts the mask to the blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mmdyn.blocks.dispatch import implements
from mmdyn.blocks.tensor import Refusal, split


@implements(F.dropout)
def dropout(input, p: float = 0.5, training: bool = True, inplace: bool = False):
    """Draws for the whole image what torch would; a half-resolution pixel is dropped as one."""
    if not training or p == 0.0:
        return input
    kept = F.dropout(torch.ones(input.shape, device=input.device), p) != 0
    mask = split(input.frame, kept, input.block).map(lambda v: v.to(input.dtype) / (1 - p))
    return input.mul_(mask) if inplace else input * mask


@implements(F.dropout2d)
def dropout2d(input, p: float = 0.5, training: bool = True, inplace: bool = False):
    """Whole channels of an image, in all its blocks alike."""
    if not training or p == 0.0:
        return input
    like = torch.ones((input.shape[0], input.channels, 1, 1), dtype=input.dtype)
    kept = F.dropout2d(like.to(input.device), p)
    return input.mul_(kept) if inplace else input * kept


@implements(F.alpha_dropout)
def alpha_dropout(input, p: float = 0.5, training: bool = False, inplace: bool = False):
    if not training or p == 0.0:
        return input
    return Refusal("alpha dropout in training mode")
