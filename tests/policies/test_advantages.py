"""Advantages and the loss of draws."""

import pytest
import torch

from mmdyn.policies.advantages import advantages, reinforce_loss, reward_sums
from mmdyn.policies.sampling import free_choices


def test_sums_are_of_the_chosen_draws_alone():
    reward = torch.tensor([[1.0, 2.0, float("inf")], [3.0, 0.0, 5.0]])
    chosen = torch.tensor([[True, True, False], [True, False, False]])
    assert reward_sums(reward, chosen).tolist() == [3.0, 6.0, 14.0]


def test_a_draw_is_compared_with_the_others_and_the_running_mean():
    reward = torch.tensor([[1.0, 2.0, 6.0, 0.0]])
    chosen = torch.tensor([[True, True, True, False]])
    sums = torch.tensor([10.0, 40.0, 10 * (16.0 + 4.0)])  # mean 4, spread 2
    out = advantages(reward, chosen, sums, prior_draws=2.0, clip=10.0)
    # others of the first draw: 2 and 6, beside two draws of the mean
    assert out[0].tolist() == pytest.approx(
        [(1 - 16 / 4) / 2, (2 - 15 / 4) / 2, (6 - 11 / 4) / 2, 0]
    )
    clipped = advantages(reward, chosen, sums, prior_draws=2.0, clip=1.0)
    assert float(clipped.abs().max()) == 1.0


def test_the_loss_raises_the_likelihood_of_what_was_better():
    log_weights = torch.zeros(1, 4, requires_grad=True)
    perturbed = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    executed = torch.tensor([[True, True, False, False]])
    chosen = free_choices(perturbed, executed)
    advantage = torch.tensor([[1.0, -1.0, 0.0, 0.0]]) * chosen
    reinforce_loss(log_weights, perturbed, executed, advantage).sum().backward()
    step = -log_weights.grad[0]
    assert step[0] > 0 > step[1] and step[2] > 0
