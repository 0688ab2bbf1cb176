"""What open gates cost: a loss that pulls the executed share of the arithmetic to the budget."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmdyn.gating.schedule import block_bounds


@dataclass
class Cost:
    """What one block cost in one call.

    Attributes:
        executed: (N,) multiply-accumulates of the branch in each image, differentiable.
        gate: Multiply-accumulates of the gate, an image.
        total: Multiply-accumulates of the whole branch, an image.
    """

    executed: Tensor
    gate: float
    total: float


def block_shares(costs: list[Cost]) -> Tensor:
    """(blocks, N) shares of each block's arithmetic, its gate's included."""
    return torch.stack([(c.executed + c.gate) / c.total for c in costs])


def network_share(costs: list[Cost]) -> Tensor:
    """(N,) shares of the arithmetic of all gated blocks, the gates' included."""
    executed = torch.stack([c.executed for c in costs]).sum(0)
    return (executed + sum(c.gate for c in costs)) / sum(c.total for c in costs)


def sparsity_loss(
    costs: list[Cost], budget: float, progress: float, settle: float = 1 / 3, per: str = "batch"
) -> tuple[Tensor, Tensor]:
    """Squared distance from the budget, of the network and beyond the bounds of each block.

    Args:
        costs: One a block; for 'image' all of the same images. A block of RoIs has their number
            for N, and weighs with all of them.
        budget: Share of the arithmetic wanted.
        progress: Share of the training done.
        settle: Share of the training over which a block's bounds open from the budget to 0 and 1.
        per: 'batch' judges the mean over the images, 'image' each of them.

    Returns:
        The loss, and the network's mean share; neither waits for the device.
    """
    if per == "batch":
        costs = [_summed(cost) for cost in costs]
    shares, network = block_shares(costs), network_share(costs)
    density = network.mean()
    low, high = block_bounds(progress, budget, settle)
    beyond = (shares - high).clamp(min=0).square() + (low - shares).clamp(min=0).square()
    return (network - budget).square().mean() + beyond.mean(), density.detach()


def _summed(cost: Cost) -> Cost:
    """Of all images as of one."""
    count = len(cost.executed)
    return Cost(cost.executed.sum()[None], cost.gate * count, cost.total * count)
