"""From the rewards of draws to the loss of the policy that made them."""

from __future__ import annotations

import torch
from torch import Tensor

from .sampling import draw_log_likelihood, free_choices

_SMALLEST_SPREAD = 1e-3  # below this the rewards are numerical noise, not news


def reward_sums(reward: Tensor, chosen: Tensor) -> Tensor:
    """(3,): count, sum and sum of squares of the rewards (N, M) of the chosen draws."""
    reward = torch.where(chosen, reward, 0.0)
    return torch.stack([chosen.sum(), reward.sum(), reward.square().sum()])


def advantages(
    reward: Tensor, chosen: Tensor, sums: Tensor, prior_draws: float, clip: float
) -> Tensor:
    """(N, M) how much better each draw was than expected, in standard deviations.

    Expected is the mean of the image's other draws, shrunk towards the running mean.

    Args:
        reward: (N, M).
        chosen: (N, M) bool, the draws.
        sums: Running ``reward_sums``.
        prior_draws: Weight of the running mean, in draws.
        clip: Largest advantage.
    """
    count = sums[0].clamp(min=1.0)
    mean = sums[1] / count
    spread = (sums[2] / count - mean.square()).clamp(min=0.0).sqrt()
    draws = chosen.float()
    others = (draws.sum(1, keepdim=True) - 1.0).clamp(min=0.0)
    others_sum = (draws * reward).sum(1, keepdim=True) - reward
    baseline = (others_sum + prior_draws * mean) / (others + prior_draws)
    advantage = (reward - baseline) / spread.clamp(min=_SMALLEST_SPREAD)
    return advantage.clamp(-clip, clip) * draws


def reinforce_loss(
    log_weights: Tensor, perturbed: Tensor, executed: Tensor, advantage: Tensor
) -> Tensor:
    """-advantage * log likelihood, averaged over each image's draws; all (N, M), gives (N,)."""
    chosen = free_choices(perturbed, executed)
    terms = advantage * draw_log_likelihood(log_weights, perturbed, executed)
    return -torch.where(chosen, terms, 0.0).sum(1) / chosen.sum(1).clamp(min=1)
