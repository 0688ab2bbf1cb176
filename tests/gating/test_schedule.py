"""Temperature and bounds."""

import pytest

from mmdyn.gating import block_bounds, stepped


def test_a_temperature_steps():
    steps = ((0, 5.0), (0.3, 2.5), (0.6, 1.0))
    assert [stepped(steps, p) for p in (0, 0.29, 0.3, 0.6, 1)] == [5.0, 5.0, 2.5, 1.0, 1.0]
    assert stepped(0.66, 0.9) == 0.66


@pytest.mark.parametrize("budget", [0.2, 0.7])
def test_bounds_open_from_the_budget_to_everything(budget):
    assert block_bounds(0.0, budget, 1 / 3) == pytest.approx((budget, budget))
    half = block_bounds(1 / 6, budget, 1 / 3)
    assert half == pytest.approx((budget / 2, 1 - (1 - budget) / 2))
    for progress in (1 / 3, 0.5, 1.0):
        assert block_bounds(progress, budget, 1 / 3) == pytest.approx((0.0, 1.0))
    assert block_bounds(0.0, budget, 0) == pytest.approx((0.0, 1.0))
