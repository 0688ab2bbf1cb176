"""Decisions are 0 or 1, and their gradient is the soft ones'."""

import pytest
import torch

from mmdyn.gating import binary_gumbel


def test_decisions_are_exactly_zero_or_one():
    values = binary_gumbel(torch.randn(4, 1, 50, 50) * 3, 0.66, noise=True)
    assert set(values.unique().tolist()) == {0.0, 1.0}


def test_without_noise_the_sign_of_the_logit_decides():
    logits = torch.tensor([-2.0, -1e-6, 0.0, 3.0])
    for temperature in (0.1, 1.0, 5.0):
        assert binary_gumbel(logits, temperature, noise=False).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("logit", [-1.5, 0.0, 0.8])
def test_noise_opens_with_the_logits_probability(logit):
    values = binary_gumbel(torch.full((200_000,), logit), 0.5, noise=True)
    assert float(values.mean()) == pytest.approx(torch.tensor(logit).sigmoid().item(), abs=0.005)


@pytest.mark.parametrize("noise", [False, True])
def test_the_gradient_is_the_soft_values(noise):
    logits = torch.randn(300, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(300, dtype=torch.float64)
    torch.manual_seed(1)
    (binary_gumbel(logits, 0.7, noise) * weight).sum().backward()
    step, hard = 1e-6, logits.grad.clone()

    def soft(moved):
        torch.manual_seed(1)
        return (binary_gumbel(moved, 0.7, noise, hard=False) * weight).sum()

    with torch.no_grad():
        for k in (0, 7, 123):
            move = torch.zeros_like(logits)
            move[k] = step
            numeric = (soft(logits + move) - soft(logits - move)) / (2 * step)
            assert float(hard[k]) == pytest.approx(float(numeric), rel=1e-5, abs=1e-9)


def test_a_lower_temperature_makes_a_steeper_gradient_at_the_threshold():
    def slope(temperature):
        logit = torch.zeros(1, requires_grad=True)
        binary_gumbel(logit, temperature, noise=False).backward()
        return float(logit.grad)

    assert slope(0.5) == pytest.approx(0.5) and slope(1.0) == pytest.approx(0.25)
