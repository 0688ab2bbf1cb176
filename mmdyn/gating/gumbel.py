"""Hard decisions that learn: the binary Gumbel-Softmax with its straight-through gradient."""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-7


def binary_gumbel(logits: Tensor, temperature: float, noise: bool, hard: bool = True) -> Tensor:
    """Decides at every position whether it is open.

    Args:
        logits: Of being open, any shape.
        temperature: Of the sigmoid whose gradient is used; the decision does not depend on it.
        noise: Add the difference of two Gumbel samples, so that a position is open with
            probability sigmoid(logit).
        hard: 0 or 1 with the soft value's gradient; False for the soft value itself.

    Returns:
        Of the logits' shape and type.
    """
    if noise:
        uniform = torch.rand_like(logits).clamp_(_TINY, 1 - _TINY)
        logits = logits + torch.log(uniform) - torch.log1p(-uniform)
    soft = torch.sigmoid(logits / temperature)
    if not hard:
        return soft
    return (logits >= 0).to(soft.dtype) + (soft - soft.detach())
