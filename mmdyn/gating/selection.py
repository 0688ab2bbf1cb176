"""The tiles of each image that a budget has room for, the best first."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def select_within(
    logits: Tensor, room: Tensor, executed: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Opens the best tiles of each image, as many as do not exceed its room.

    Args:
        logits: (N, 1, h, w), of being open.
        room: (N,) multiply-accumulates; may be negative, and then nothing opens.
        executed: What a mask of tiles (N, 1, h, w) costs each image, (N,); more open tiles cost
            more.

    Returns:
        The mask, bool, and what it costs.
    """
    if not logits.numel():
        mask = torch.zeros_like(logits, dtype=torch.bool)
        return mask, executed(mask)
    # Rank 0 is the best; equal logits keep an order, so that every number of tiles exists.
    order = logits.flatten(1).argsort(dim=1, descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks.scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    ranks = ranks.view(logits.shape)

    def opened(count: Tensor) -> Tensor:
        return ranks < count.view(-1, 1, 1, 1)

    low = torch.zeros(len(logits), dtype=torch.long, device=logits.device)  # fits, or nothing does
    high = torch.full_like(low, order.shape[1] + 1)  # does not
    for _ in range(order.shape[1].bit_length()):
        middle = torch.div(low + high, 2, rounding_mode="floor")
        fits = executed(opened(middle)) <= room
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    mask = opened(low)
    return mask, executed(mask)


class Selection:
    """Top-k in all blocks of a call: what a block leaves of its room goes to the next.

    Args:
        budget: Share of the arithmetic, gates included, that every image executes.
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self._left: Tensor | None = None
        self._seen: set[str] = set()

    @torch.no_grad()
    def __call__(
        self,
        path: str,
        logits: Tensor,
        gate: float,
        total: float,
        executed: Callable[[Tensor], Tensor],
        part: Tensor | float = 1.0,
    ) -> Tensor:
        """The mask of a block, (N, 1, h, w) bool.

        Args:
            path: Of the block.
            logits: Of its gate, (N, 1, h, w).
            gate, total: Multiply-accumulates of an image, of the gate and of the whole branch.
            executed: See `select_within`.
            part: Share of the block's arithmetic that it gets, in budgets.
        """
        if path in self._seen or self._left is None or len(self._left) != len(logits):
            self._seen.clear()
            self._left = torch.zeros(len(logits), device=logits.device)
        self._seen.add(path)
        room = self._left + (part * self.budget * total - gate)
        mask, cost = select_within(logits, room, executed)
        self._left = room - cost
        return mask
