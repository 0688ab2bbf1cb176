"""The one threshold of all gates with which a network meets its budget."""

from __future__ import annotations

from collections.abc import Callable


def find_threshold(
    share_at: Callable[[float], float],
    budget: float,
    start: float = 0.0,
    tolerance: float = 0.002,
    tries: int = 16,
) -> tuple[float, float]:
    """Searches the threshold at which the executed share is the budget.

    Args:
        share_at: Executed share at a threshold; falls as it rises, apart from small bumps.
        budget: The share wanted.
        start: Where to begin.
        tolerance: Relative distance from the budget that is close enough.
        tries: Calls of `share_at` at most.

    Returns:
        The best threshold seen, and its share.
    """
    seen: list[tuple[float, float]] = []

    def look(threshold: float) -> float:
        seen.append((threshold, share_at(threshold)))
        return seen[-1][1] - budget

    def best() -> tuple[float, float]:
        return min(seen, key=lambda pair: abs(pair[1] - budget))

    low = high = start
    above = below = look(start)
    step = 0.5
    while abs(best()[1] - budget) > tolerance * budget and len(seen) < tries:
        if above < 0:  # too little is open even here: look lower
            high, below = low, above
            low -= step
            above, step = look(low), 2 * step
        elif below > 0:
            low, above = high, below
            high += step
            below, step = look(high), 2 * step
        else:
            span = above - below
            part = min(max(above / span, 0.15), 0.85) if span > 0 else 0.5
            middle = low + part * (high - low)
            found = look(middle)
            low, above, high, below = (
                (middle, found, high, below) if found > 0 else (low, above, middle, found)
            )
    return best()
