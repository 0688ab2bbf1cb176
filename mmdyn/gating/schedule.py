"""What changes while a gated network trains: temperature, noise and the bounds of each block."""

from __future__ import annotations

import math
from numbers import Real


def stepped(value, progress: float) -> float:
    """A constant, or the last of ((from, value), ...) whose `from` is reached."""
    if isinstance(value, Real):
        return float(value)
    reached = [number for start, number in value if start <= progress]
    return float(reached[-1])


def block_bounds(progress: float, budget: float, settle: float) -> tuple[float, float]:
    """Least and largest share of one block, free of cost.

    Both are the budget at the start of training and open to 0 and 1 over the first `settle` of it.
    """
    done = min(1.0, progress / settle) if settle > 0 else 1.0
    tight = math.cos(math.pi / 2 * done) ** 2
    return tight * budget, 1.0 - tight * (1.0 - budget)
