"""Sampling without replacement at an exact budget, and the likelihood of what was sampled.

Adding Gumbel noise to log weights and taking the k largest draws k cells one after the other,
each in proportion to its weight among those left (Plackett-Luce; Kool, van Hoof and Welling,
"Stochastic Beams and Where to Find Them", ICML 2019). The budget holds in every draw, and the
order of the perturbed scores is the order of the draws, so their likelihood is known exactly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_EXCLUDED = -1e4  # a log weight that leaves nothing of a cell, and no NaN in its gradient


def seeded_uniform(
    shape: tuple[int, ...], seed: int, draw: int, device: torch.device | None = None
) -> Tensor:
    """Uniform numbers in (0, 1) that depend on ``seed`` and ``draw`` alone, on any device."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + draw) % 2**63)
    tiny = torch.finfo(torch.float32).tiny
    return torch.rand(shape, generator=generator).clamp_(min=tiny).to(device, non_blocking=True)


def gumbel(shape: tuple[int, ...], seed: int, draw: int, device: torch.device) -> Tensor:
    """Standard Gumbel noise, seeded like ``seeded_uniform``."""
    uniform = seeded_uniform(shape, seed, draw, device)
    return -torch.log((-torch.log(uniform)).clamp_(min=1e-12))


def free_choices(perturbed: Tensor, executed: Tensor) -> Tensor:
    """The executed cells that the perturbed scores chose, (N, M) bool.

    A cell with a score below that of some skipped cell was forced from outside, and where no cell
    was skipped there was no choice.
    """
    best_skipped = perturbed.masked_fill(executed, -torch.inf).amax(1, keepdim=True)
    return executed & (perturbed >= best_skipped) & ~executed.all(1, keepdim=True)


def draw_log_likelihood(log_weights: Tensor, perturbed: Tensor, executed: Tensor) -> Tensor:
    """Log probability of each draw given the draws before it, (N, M); valid at free choices.

    Forced cells take no part: they are never among the cells left.

    Args:
        log_weights: (N, M), with gradients.
        perturbed: (N, M), the log weights at the time plus noise.
        executed: (N, M) bool.
    """
    forced = executed & ~free_choices(perturbed, executed)
    order = perturbed.masked_fill(forced, -torch.inf).argsort(dim=1, descending=True, stable=True)
    ranked = log_weights.masked_fill(forced, _EXCLUDED).gather(1, order)
    left = ranked.flip(1).logcumsumexp(1).flip(1)
    return torch.zeros_like(ranked).scatter(1, order, ranked - left)


def first_draw_entropy(log_weights: Tensor) -> Tensor:
    """Entropy of the first draw over that of a uniform one, (N,), 0 to 1."""
    log_p = log_weights.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1) / math.log(max(2, log_weights.shape[1]))


def inclusion_probabilities(log_weights: Tensor, count: int, steps: int = 50) -> Tensor:
    """How probable it is that each cell is among ``count`` drawn without replacement, (N, M).

    A cell is drawn if its weight with Gumbel noise passes the count-th largest one. Taking that
    threshold as fixed, where the probabilities add up to ``count``, is close for many cells and
    exact for equal weights.

    Args:
        log_weights: (N, M).
        count: Cells drawn of each row, 0 to M.
        steps: Bisections of the threshold.
    """
    if count >= log_weights.shape[1]:
        return torch.ones_like(log_weights)
    shifted = log_weights - log_weights.amax(1, keepdim=True)
    low = torch.full_like(shifted[:, :1], -40.0) + shifted.amin(1, keepdim=True)
    high = torch.full_like(low, 40.0)
    for _ in range(steps):
        middle = (low + high) / 2
        enough = _above(shifted, middle).sum(1, keepdim=True) >= count
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return _above(shifted, low)


def _above(log_weights: Tensor, threshold: Tensor) -> Tensor:
    """Probability that a log weight with Gumbel noise is above a threshold."""
    return -torch.expm1(-(log_weights - threshold).clamp(max=30.0).exp())
