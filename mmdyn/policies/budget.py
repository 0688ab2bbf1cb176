"""How many cells run in a frame, and which: the budget is kept here, never by a reward."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdyn.ops.transfer import to_device


class BudgetController:
    """Keeps one stream's executed share on target by integral control.

    Counts are taken from a ladder of at most ``buckets`` steps, so that blocks meet few different
    batch sizes: step i of n = min(buckets, total) is i * total / n cells, rounded (half up). A
    grid of fewer than ``buckets`` cells has steps of one cell. Between two steps the controller
    dithers: what rounding gave or took in one frame is carried into the next.

    What ran beyond the plan (the full first frame, forced cells, refreshes) is a debt, paid back
    in ``horizon`` equal parts, but never faster than down to ``floor`` of the budget: at any time
    at least ``floor * budget`` of the cells run on average, within one step. A first frame is
    thus paid back after max(horizon, (1 - budget) / (budget * (1 - floor))) frames: 12 at 0.3, 18
    at 0.1, 38 at 0.05. A rate below one step means frames of one step and frames of none.

    Args:
        budget: Target share of the cells over the clip, 0 to 1.
        buckets: Steps of the ladder. Default 16.
        horizon: Frames over which a debt is paid back. Default 12.
        floor: Share of the budget that is left while paying, 0 to 1. Default 0.5.
    """

    def __init__(
        self, budget: float, buckets: int = 16, horizon: float = 12.0, floor: float = 0.5
    ) -> None:
        if not 0.0 <= budget <= 1.0:
            raise ValueError(f"budget must be a share from 0 to 1, got {budget}.")
        if buckets < 1 or horizon < 1.0 or not 0.0 <= floor <= 1.0:
            raise ValueError(
                "buckets and horizon must be at least 1 and floor from 0 to 1, got "
                f"buckets={buckets}, horizon={horizon}, floor={floor}."
            )
        self.budget = budget
        self.buckets = buckets
        self.horizon = horizon
        self.floor = floor
        self.reset()

    def reset(self) -> None:
        """Starts a new clip: no frames seen, nothing owed."""
        self._frames = 0
        self._spent = 0.0  # sum of executed shares
        self._carry = 0.0  # what rounding has kept back, within half a step
        self._owed = 0.0  # frames' worth of cells run beyond the plan; negative: below it
        self._instalment = 0.0

    @property
    def share(self) -> float:
        """Executed share over the clip so far; 0 before its first frame."""
        return self._spent / self._frames if self._frames else 0.0

    def cells(self, total: int, forced: int = 0) -> int:
        """Cells to execute in the coming frame: a step of the ladder, or ``forced`` if more.

        Changes nothing: call ``observe`` with what really ran.
        """
        if total < 1 or not 0 <= forced <= total:
            raise ValueError(
                "expected total >= 1 cells and 0 <= forced <= total, got "
                f"total={total}, forced={forced}."
            )
        return max(self._planned(total), forced)

    def observe(self, executed: int, total: int) -> None:
        """Books a frame in which ``executed`` of ``total`` cells ran, planned or not."""
        if total < 1 or not 0 <= executed <= total:
            raise ValueError(f"expected 0 <= executed <= total, got {executed} of {total}.")
        repaid = self._repayment()
        planned = self._planned(total)
        self._carry += self.budget - repaid - planned / total
        self._owed += (executed - planned) / total - repaid
        if executed != planned:
            self._instalment = self._owed / self.horizon
        self._frames += 1
        self._spent += executed / total

    def _repayment(self) -> float:
        """Share by which the coming frame stays under the budget (negative: over it)."""
        if self._owed > 0.0:
            most = min(self._owed, (1.0 - self.floor) * self.budget)
            return min(max(self._instalment, 0.0), most)
        return max(min(self._instalment, 0.0), self._owed, self.budget - 1.0)

    def _planned(self, total: int) -> int:
        wanted = (self._carry + self.budget - self._repayment()) * total
        return min(self._ladder(total), key=lambda step: abs(step - wanted))

    def _ladder(self, total: int) -> list[int]:
        steps = min(self.buckets, total)
        return [(2 * i * total + steps) // (2 * steps) for i in range(steps + 1)]


def select_cells(
    scores: Tensor, count: int | Sequence[int], must_run: Tensor | None = None
) -> Tensor:
    """The cells to execute: those that must run, then the best by score until ``count``.

    Equal scores go to the lower index and NaN ranks last, so the result is a function of its
    arguments alone. Never waits for a device.

    Args:
        scores: (N, GH, GW), larger is better.
        count: Cells per image, one number for all images or one each.
        must_run: (N, GH, GW) bool, or None. All of these run, even where they exceed ``count``.

    Returns:
        (N, GH, GW) bool, ``count`` cells per image (or its must-run cells, if those are more).
    """
    if scores.dim() != 3:
        raise ValueError(f"scores must be (N, GH, GW), got {tuple(scores.shape)}.")
    images, total = scores.shape[0], scores.shape[1] * scores.shape[2]
    counts = [int(c) for c in count] if isinstance(count, Sequence) else [int(count)] * images
    if len(counts) != images or any(not 0 <= c <= total for c in counts):
        raise ValueError(
            f"count must be one number, or {images} numbers, from 0 to {total} cells; got {count}."
        )
    if must_run is not None and must_run.shape != scores.shape:
        raise ValueError(
            f"must_run must have the shape of scores {tuple(scores.shape)}, "
            f"got {tuple(must_run.shape)}."
        )
    keys = scores.flatten(1).float()
    keys = torch.where(keys.isnan(), -torch.inf, keys)
    order = keys.argsort(dim=1, descending=True, stable=True)
    if must_run is not None:
        first = must_run.flatten(1).gather(1, order)
        order = order.gather(1, first.byte().argsort(dim=1, descending=True, stable=True))
    limit = to_device(counts, scores.device)[:, None]
    taken = torch.arange(total, device=scores.device)[None] < limit
    chosen = torch.zeros_like(taken).scatter(1, order, taken).view(scores.shape)
    return chosen if must_run is None else chosen | must_run
