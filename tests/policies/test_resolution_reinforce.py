"""The policy that learns which blocks run at full resolution."""

import pytest
import torch

from mmdyn.policies import ReinforceResolution, build_resolution_policy, select_cells

SIZE = (3, 4)


def image(count: int = 2, seed: int = 0, side: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, SIZE[0] * side, SIZE[1] * side, generator=generator)


def iteration(policy, x, gain_of, count: int = 4) -> dict:
    logits = policy.scores(x, SIZE)
    perturbed = policy.draw(logits)
    executed = select_cells(perturbed, count)
    return policy.loss(logits, perturbed, executed, gain_of(x))


def test_untrained_it_ranks_like_the_heuristic():
    x = image() * torch.rand(2, 1, *SIZE).repeat_interleave(16, 2).repeat_interleave(16, 3)
    mine = ReinforceResolution().scores(x, SIZE).flatten(1).argsort(1)
    other = build_resolution_policy("heuristic").scores(x, SIZE).flatten(1).argsort(1)
    assert torch.equal(mine, other)


@pytest.mark.parametrize("side", [8, 16, 18, 64])
def test_any_block_and_any_image(side):
    policy = ReinforceResolution()
    for x in (image(side=side), 1000 * image(side=side), torch.zeros(1, 3, 3 * side, 4 * side)):
        out = policy.scores(x, SIZE)
        assert out.shape == (x.shape[0], *SIZE) and bool(out.isfinite().all())
    grey = image(side=side)[:, :1]
    assert policy.scores(grey, SIZE).shape == (2, *SIZE)


def test_images_do_not_see_each_other():
    policy, x = ReinforceResolution(), image(3)
    policy.net.correct.weight.data.normal_()
    together = policy.scores(x, SIZE)
    assert torch.allclose(policy.scores(x[1:2], SIZE), together[1:2], atol=1e-5)


def test_it_learns_what_raises_the_gain_and_not_what_the_heuristic_says():
    """The gain is in the bottom row, the detail everywhere alike."""
    policy = ReinforceResolution()
    optimizer = torch.optim.Adam(policy.parameters(), 5e-3)
    worth = torch.zeros(8, *SIZE)
    worth[:, 2] = 1.0

    def gain_of(x):
        return worth + 0.1 * torch.randn_like(worth)

    gains = []
    for step in range(60):
        losses = iteration(policy, image(8, step), gain_of)
        optimizer.zero_grad()
        losses["loss_policy"].backward()
        optimizer.step()
        gains.append(float(losses["policy_gain"]))
    assert sum(gains[:5]) / 5 < 0.55  # of four cells at random a third are in the row
    chosen = select_cells(policy.scores(image(8, 99), SIZE), 4)
    assert float(chosen[:, 2].float().mean()) > 0.9


@pytest.mark.parametrize("count", [0, 12])
def test_without_a_choice_there_is_nothing_to_learn_but_the_graph_is_whole(count):
    policy = ReinforceResolution(entropy=0.0)
    losses = iteration(policy, image(), lambda x: torch.ones(2, *SIZE), count)
    losses["loss_policy"].backward()
    assert float(losses["loss_policy"]) == 0.0
    assert all(p.grad is not None and not bool(p.grad.any()) for p in policy.parameters())


def test_gains_that_are_not_numbers_count_as_no_draw():
    policy = ReinforceResolution()
    losses = iteration(policy, image(), lambda x: torch.full((2, *SIZE), float("nan")))
    losses["loss_policy"].backward()
    assert bool(policy.reward_sums.isfinite().all()) and float(policy.reward_sums[0]) == 0.0
    assert all(bool(p.grad.isfinite().all()) for p in policy.parameters())


def test_autocast_does_not_reach_it():
    policy, x = ReinforceResolution(), image()
    policy.net.correct.weight.data.normal_()
    wanted = policy.scores(x, SIZE)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(policy.scores(x, SIZE), wanted)


@pytest.mark.parametrize("name", ["temperature", "clip", "prior_draws"])
def test_settings_out_of_range_are_refused(name):
    with pytest.raises(ValueError, match=name):
        ReinforceResolution(**{name: 0.0})
