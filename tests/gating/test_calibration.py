"""The search for the threshold."""

import pytest
import torch

from mmdyn.gating import find_threshold


@pytest.mark.parametrize("budget", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("start", [0.0, 4.0, -4.0])
def test_the_threshold_meets_the_budget(budget, start):
    logits = torch.randn(100_000) * 2 + 1
    calls = []

    def share_at(threshold):
        calls.append(threshold)
        return float((logits >= threshold).float().mean())

    threshold, share = find_threshold(share_at, budget, start)
    assert share == pytest.approx(budget, rel=0.002) and share == share_at(threshold)
    assert len(calls) <= 17


def test_a_budget_below_the_gates_own_cost_gives_the_least():
    threshold, share = find_threshold(lambda t: 0.2 + 0.8 * (t < 3), 0.1, tries=10)
    assert share == pytest.approx(0.2) and threshold >= 3


def test_a_good_start_needs_one_call():
    calls = []
    find_threshold(lambda t: calls.append(t) or 0.5, 0.5)
    assert calls == [0.0]
