"""The policies that do not learn."""

import pytest
import torch

from mmdyn.policies import Observation, Policy, build_policy, select_cells
from mmdyn.policies.base import relative_change
from mmdyn.registry import POLICIES

NAMES = ["all", "none", "random", "frame_difference", "oracle", "reinforce"]


def observe(stream, frames=4, images=1):
    """An observation from the middle of a clip; ``stream`` is (MovingSquare, Bookkeeper)."""
    parts = []
    for seed in range(images):
        source, keeper = stream[0](seed), stream[1]()
        for number in range(frames):
            obs = keeper.observe(*source.frame())
            if number < frames - 1:
                cells = torch.rand(keeper.last.shape, generator=source.generator) < 0.3
                keeper.execute(cells if number else torch.ones_like(cells))
        parts.append(obs)
    return join(parts)


def join(parts):
    """One observation of a batch from observations of one image each."""
    names = ["image", "change", "thumbnail", "memory_thumbnail", "age", "last_grid"]
    return Observation(
        grid_size=parts[0].grid_size,
        task=[part.task[0] for part in parts],
        oracle=[part.oracle[0] for part in parts],
        **{name: torch.cat([getattr(part, name) for part in parts]) for name in names},
    )


@pytest.fixture
def batch(square, bookkeeper):
    return observe((square, bookkeeper), images=3)


def one(batch, index):
    names = ["image", "change", "thumbnail", "memory_thumbnail", "age", "last_grid"]
    return Observation(
        grid_size=batch.grid_size,
        task=[batch.task[index]],
        oracle=[batch.oracle[index]],
        **{name: getattr(batch, name)[index : index + 1] for name in names},
    )


def frozen(name):
    return build_policy(dict(type=name, learning=False))


def test_the_registry_knows_exactly_these():
    assert sorted(POLICIES.module_dict) == sorted(NAMES)
    assert all(POLICIES.get(name).name == name for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_float32_and_the_same_twice(name, batch):
    first, second = (frozen(name).scores(batch) for _ in range(2))
    assert first.shape == batch.age.shape and first.dtype == torch.float32
    assert first.isfinite().all() and torch.equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_streams_equals_streams_one_by_one(name, batch):
    together = select_cells(frozen(name).scores(batch), 9)
    for index in range(3):
        alone = select_cells(frozen(name).scores(one(batch, index)), 9)
        assert torch.equal(together[index], alone[0])


@pytest.mark.parametrize("name", NAMES)
def test_bf16_images(name, batch):
    for field in ("image", "change", "thumbnail", "memory_thumbnail"):
        setattr(batch, field, getattr(batch, field).bfloat16())
    scores = frozen(name).scores(batch)
    assert scores.dtype == torch.float32 and scores.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_first_frame_and_broken_pixels(name, square, bookkeeper):
    obs = bookkeeper().observe(*square().frame())
    assert frozen(name).scores(obs).isfinite().all()
    obs.thumbnail[0, :, 3] = float("nan")
    obs.change[0, 2] = float("inf")
    assert frozen(name).scores(obs).isfinite().all()


@pytest.mark.parametrize("name", ["all", "none", "random", "frame_difference", "oracle"])
def test_baselines_do_not_learn(name, batch):
    policy = build_policy(dict(type=name, learning=True))
    assert policy.learn(batch, batch.last_grid, batch.oracle) == {}
    assert not list(policy.parameters())


def test_fixed_shares():
    assert {name: POLICIES.get(name).fixed_share for name in NAMES} == {
        "all": 1.0, "none": 0.0, "random": None, "frame_difference": None,
        "oracle": None, "reinforce": None,
    }  # fmt: skip


def test_frame_difference_prefers_change_then_age(batch):
    batch.change.zero_()
    batch.change[:, 2, 3] = 0.5
    batch.age.fill_(1)
    batch.age[:, 5, 1], batch.age[:, 6, 7] = 9, 30
    order = frozen("frame_difference").scores(batch)[0].flatten().argsort(descending=True)
    assert order[:3].tolist() == [2 * 8 + 3, 6 * 8 + 7, 5 * 8 + 1]


def test_static_cells_take_turns(batch):
    batch.change.zero_()
    batch.age.fill_(1)
    policy, seen = frozen("frame_difference"), torch.zeros(64, dtype=torch.int64)
    for _ in range(8):
        cells = select_cells(policy.scores(batch), 8)
        seen += cells[0].flatten()
        batch.age = torch.where(cells, 1, batch.age + 1)
    assert seen.tolist() == [1] * 64


def test_change_is_measured_against_the_contrast(batch):
    expected = relative_change(batch, 1e-4)
    for field in ("change", "thumbnail", "memory_thumbnail"):
        setattr(batch, field, getattr(batch, field) * 58.0)
    assert torch.allclose(relative_change(batch, 1e-4), expected, rtol=1e-4)


def test_random_depends_on_seed_and_frame_only(batch):
    def clip(seed):
        policy = build_policy(dict(type="random", seed=seed))
        return [policy.scores(batch)[0] for _ in range(3)]

    first, again, other = clip(0), clip(0), clip(1)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], other[0])


def test_stratified_random_visits_every_cell_once(batch):
    policy, seen = build_policy(dict(type="random", stratified=True)), 0
    batch.age.fill_(1)
    for _ in range(8):
        cells = select_cells(policy.scores(batch), 8)
        seen = seen + cells.long()
        batch.age = torch.where(cells, 1, batch.age + 1)
    assert (seen == 1).all()


def test_the_oracle_sees_what_will_change(stream):
    caught = {name: stream(frozen(name), 30, 8) for name in ("oracle", "frame_difference")}
    assert caught["oracle"] > 0.9 > caught["frame_difference"]


def test_the_oracle_needs_dense_outputs(batch):
    batch.oracle = None
    with pytest.raises(ValueError, match="run the network densely first"):
        frozen("oracle").scores(batch)


def test_a_policy_without_scores_says_so(batch):
    with pytest.raises(NotImplementedError, match="Policy must define scores"):
        Policy().scores(batch)
