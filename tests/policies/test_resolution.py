"""Policies that do not learn which blocks run at full resolution."""

import pytest
import torch

from mmdyn.policies import ResolutionPolicy, build_resolution_policy
from mmdyn.registry import RESOLUTION_POLICIES

NAMES = ["all-full", "all-half", "centre", "heuristic", "oracle", "random", "reinforce"]
SIZE = (2, 3)


def image(seed: int = 0, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, 32, 48, generator=torch.Generator().manual_seed(seed))


def scores(name: str, x: torch.Tensor, size=SIZE, **options) -> torch.Tensor:
    out = build_resolution_policy(dict(type=name, **options)).scores(x, size)
    assert out.shape == (x.shape[0], *size) and out.dtype == torch.float32
    return out


def test_the_registry_has_these():
    assert sorted(RESOLUTION_POLICIES.module_dict) == NAMES
    assert all(RESOLUTION_POLICIES.get(name).name == name for name in NAMES)
    assert all(issubclass(RESOLUTION_POLICIES.get(name), ResolutionPolicy) for name in NAMES)


def test_heuristic_prefers_what_down_sampling_loses():
    x = torch.zeros(1, 3, 32, 48)
    x[..., :16, :16] = torch.linspace(0, 1, 16).round()[:, None]  # an edge between pixel pairs
    x[..., 16:, 32:] = torch.arange(16) % 2  # stripes of one pixel
    x[..., 16:, :16] = (torch.arange(16) // 2 % 2)[:, None]  # of two: nothing is lost
    out = scores("heuristic", x)[0]
    assert out.argmax() == 5 and float(out[1, 2]) == pytest.approx(0.5)
    assert float(out[1, 0]) == float(out[0, 0]) == 0.0


def test_centre_takes_the_middle_row_from_its_centre():
    out = scores("centre", image(), (3, 5))[0]
    assert out.flatten().topk(5).indices.tolist()[0] == 7
    assert set(out.flatten().topk(5).indices.tolist()) == {5, 6, 7, 8, 9}


def test_random_depends_on_the_image_and_the_seed_alone():
    x = image(count=3)
    x[1:] = image(7)
    a = scores("random", x)
    torch.manual_seed(9)
    assert torch.equal(scores("random", x), a)
    assert torch.equal(scores("random", x[1:]), a[1:]) and torch.equal(a[1], a[2])
    assert not torch.equal(a[0], a[1])
    assert not torch.equal(scores("random", x, seed=1), a)


def test_random_serves_all_cells_alike():
    counts = torch.zeros(6)
    for seed in range(200):
        counts[scores("random", image(seed)).flatten().argmax()] += 1
    assert int(counts.min()) > 15


def test_oracle_says_what_it_wants():
    gain = torch.rand(1, *SIZE)
    policy = build_resolution_policy("oracle")
    assert policy.needs_gain and torch.equal(policy.scores(image(), SIZE, gain), gain)
    with pytest.raises(ValueError, match="gt_sem_seg.*LoadAnnotations"):
        policy.scores(image(), SIZE)


def test_fixed_shares():
    shares = {n: RESOLUTION_POLICIES.get(n).fixed_share for n in NAMES}
    assert {n: s for n, s in shares.items() if s is not None} == {"all-full": 1.0, "all-half": 0.0}
