"""Draws without replacement: their likelihood, against loops and frequencies."""

import itertools
import math

import pytest
import torch

from mmdyn.policies.sampling import (
    draw_log_likelihood,
    first_draw_entropy,
    free_choices,
    gumbel,
    inclusion_probabilities,
    seeded_uniform,
)


def test_the_likelihood_equals_a_plain_loop():
    torch.manual_seed(3)
    weights = torch.randn(2, 7)
    perturbed = weights + torch.randn(2, 7)
    executed = torch.zeros(2, 7, dtype=torch.bool)
    executed.scatter_(1, perturbed.topk(4, dim=1).indices, True)
    got = draw_log_likelihood(weights, perturbed, executed)
    for image in range(2):
        left = list(range(7))
        for cell in perturbed[image].argsort(descending=True)[:4].tolist():
            total = sum(math.exp(weights[image, other]) for other in left)
            expected = float(weights[image, cell]) - math.log(total)
            assert math.isclose(float(got[image, cell]), expected, rel_tol=1e-4, abs_tol=1e-5)
            left.remove(cell)


def test_the_likelihoods_of_all_orders_sum_to_one():
    weights = torch.randn(1, 4)
    total = 0.0
    for order in itertools.permutations(range(4), 2):
        perturbed = torch.full((1, 4), -5.0)
        perturbed[0, list(order)] = torch.tensor([2.0, 1.0])
        executed = torch.zeros(1, 4, dtype=torch.bool)
        executed[0, list(order)] = True
        total += float(draw_log_likelihood(weights, perturbed, executed)[executed].sum().exp())
    assert math.isclose(total, 1.0, rel_tol=1e-5)


def test_gumbel_top_one_has_the_softmax_frequencies():
    weights = torch.tensor([1.0, 0.0, -1.0])
    noise = gumbel((20000, 3), seed=0, draw=0, device=torch.device("cpu"))
    frequencies = (weights + noise).argmax(1).bincount(minlength=3) / 20000
    assert torch.allclose(frequencies, weights.softmax(0), atol=0.015)


def test_a_cell_below_a_skipped_one_was_forced():
    perturbed = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]])
    executed = torch.tensor([[True, True, False, False, True]])
    assert free_choices(perturbed, executed).tolist() == [[True, True, False, False, False]]
    weights = torch.zeros(1, 5, requires_grad=True)
    likelihood = draw_log_likelihood(weights, perturbed, executed)
    assert torch.allclose(likelihood[0, :2].exp(), torch.tensor([1 / 4, 1 / 3]))
    likelihood[0, :2].sum().backward()
    assert weights.grad[0, 4] == 0.0 and weights.grad.isfinite().all()


def test_a_full_frame_is_no_choice():
    perturbed = torch.randn(1, 6)
    assert not free_choices(perturbed, torch.ones(1, 6, dtype=torch.bool)).any()


def test_entropy_is_relative_to_uniform():
    entropy = first_draw_entropy(torch.tensor([[0.0] * 8, [100.0] + [0.0] * 7]))
    assert torch.allclose(entropy, torch.tensor([1.0, 0.0]), atol=1e-5)
    assert first_draw_entropy(torch.zeros(1, 1)).item() == 0.0


@pytest.mark.parametrize("draw", [0, 7])
def test_draws_leave_the_global_generator_alone(draw):
    state = torch.random.get_rng_state()
    first = seeded_uniform((50,), 1, draw)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(first, seeded_uniform((50,), 1, draw))
    assert not torch.equal(first, seeded_uniform((50,), 1, draw + 1))
    assert not torch.equal(first, seeded_uniform((50,), 2, draw))


def test_inclusion_probabilities_are_the_frequencies_of_draws():
    log_weights = torch.randn(1, 40) * 1.5
    expected = inclusion_probabilities(log_weights, 12)
    torch.testing.assert_close(expected.sum(), torch.tensor(12.0), atol=1e-3, rtol=0)
    perturbed = log_weights + gumbel((4000, 40), 0, 0, torch.device("cpu"))
    drawn = torch.zeros(4000, 40).scatter(1, perturbed.topk(12, 1).indices, 1.0).mean(0)
    torch.testing.assert_close(expected[0], drawn, atol=0.05, rtol=0)


def test_inclusion_probabilities_at_the_ends():
    log_weights = torch.tensor([[0.0, -300.0, 200.0, 0.0]])
    assert inclusion_probabilities(log_weights, 0).max() < 1e-6
    assert (inclusion_probabilities(log_weights, 4) == 1).all()
    one = inclusion_probabilities(log_weights, 1)[0]
    assert one[2] > 0.99 and one[[0, 1, 3]].max() < 0.01
    torch.testing.assert_close(
        inclusion_probabilities(torch.zeros(2, 8), 2), torch.full((2, 8), 0.25)
    )
