"""The budget is met exactly, whatever is forced, and the best cells are the ones that run."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdyn.policies import BudgetController, select_cells

BUDGETS = [0.1, 0.15, 0.3, 0.5, 0.7]
GRIDS = [12, 15, 16, 20, 24, 63, 91, 128, 180, 512]


def play(controller, total, frames, full=(0,)):
    """Runs a clip with the full frames named; returns the planned counts of all frames."""
    counts = []
    for frame in range(frames):
        counts.append(controller.cells(total))
        controller.observe(total if frame in full else counts[-1], total)
    return counts


@pytest.mark.parametrize("frames", [20, 30, 100])
@pytest.mark.parametrize("total", GRIDS)
@pytest.mark.parametrize("budget", BUDGETS)
def test_a_clip_with_a_full_first_frame_meets_the_budget(budget, total, frames):
    controller = BudgetController(budget)
    play(controller, total, frames)
    assert abs(controller.share - budget) <= 0.01


@given(
    budget=st.floats(0.1, 1.0),
    total=st.integers(12, 512),
    frames=st.integers(20, 200),
)
def test_any_budget_any_grid(budget, total, frames):
    controller = BudgetController(budget)
    play(controller, total, frames)
    assert abs(controller.share - budget) <= 0.01


@pytest.mark.parametrize("budget", BUDGETS)
def test_refreshes_are_paid_back_too(budget):
    controller = BudgetController(budget)
    play(controller, 128, 120, full=(0, 40, 80))
    assert abs(controller.share - budget) <= 0.01


@given(
    budget=st.floats(0.01, 1.0),
    total=st.integers(1, 300),
    floor=st.floats(0.0, 1.0),
    full=st.sets(st.integers(0, 59)),
)
def test_the_floor_holds_however_much_is_owed(budget, total, floor, full):
    controller = BudgetController(budget, floor=floor)
    counts = play(controller, total, 60, full)
    step = -(-total // min(16, total))
    assert sum(counts) >= 60 * floor * budget * total - step - 1e-6
    assert min(counts) >= floor * budget * total - step - 1e-6


@given(budget=st.floats(0.0, 1.0), total=st.integers(1, 600))
def test_counts_come_from_a_short_ladder(budget, total):
    counts = set(play(BudgetController(budget), total, 50))
    steps = min(16, total)
    ladder = {int(i * total / steps + 0.5) for i in range(steps + 1)}
    assert counts <= ladder
    assert all(0 <= count <= total for count in counts)


@given(budget=st.floats(0.05, 0.95), total=st.integers(1, 300), data=st.data())
def test_forced_cells_always_fit_and_are_paid_back(budget, total, data):
    controller = BudgetController(budget)
    for _ in range(60):
        forced = data.draw(st.integers(0, max(0, int(budget * total))))
        count = controller.cells(total, forced)
        assert count >= forced
        controller.observe(count, total)
    step = -(-total // min(16, total)) / total
    for _ in range(40):
        controller.observe(controller.cells(total), total)
    assert abs(controller.share - budget) <= 0.01 + step / 20


def test_a_debt_is_paid_gradually_not_by_stopping():
    counts = play(BudgetController(0.3), 160, 30)[1:]
    assert min(counts[:12]) > 0
    assert max(counts[:12]) <= 50 and min(counts[13:]) >= 40
    assert abs(sum(counts[:12]) / 12 / 160 - (0.3 - 0.7 / 12)) < 0.01


def test_too_little_work_is_caught_up_gradually():
    controller = BudgetController(0.5)
    for _ in range(4):
        controller.observe(0, 16)
    counts = play(controller, 16, 36, full=())
    assert max(counts) < 16
    assert abs(controller.share - 0.5) <= 0.01


@pytest.mark.parametrize("budget", [0.01, 0.03])
def test_a_tiny_budget_runs_whole_steps_now_and_then(budget):
    controller = BudgetController(budget)
    counts = play(controller, 128, 400)
    assert set(counts[1:]) == {0, 8}
    assert abs(controller.share - budget) <= 0.01


def test_the_extremes():
    assert play(BudgetController(0.0), 32, 9)[1:] == [0] * 8
    assert play(BudgetController(1.0), 32, 9) == [32] * 9


def test_asking_changes_nothing_and_reset_forgets():
    controller = BudgetController(0.37)
    assert len({controller.cells(90) for _ in range(5)}) == 1
    first = play(controller, 90, 15)
    controller.reset()
    assert controller.share == 0.0
    assert play(controller, 90, 15) == first


@pytest.mark.parametrize("bad", [dict(budget=1.2), dict(budget=-0.1), dict(budget=0.5, horizon=0)])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="budget must be|at least 1"):
        BudgetController(**bad)


def test_bad_counts_are_refused():
    controller = BudgetController(0.5)
    with pytest.raises(ValueError, match="forced=5"):
        controller.cells(4, forced=5)
    with pytest.raises(ValueError, match="got 5 of 4"):
        controller.observe(5, 4)


@given(
    images=st.integers(1, 3),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    seed=st.integers(0, 999),
    data=st.data(),
)
def test_exactly_count_cells_and_no_better_one_left_out(images, height, width, seed, data):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 5, (images, height, width), generator=generator).float()
    counts = data.draw(st.lists(st.integers(0, height * width), min_size=images, max_size=images))
    chosen = select_cells(scores, counts)
    assert chosen.flatten(1).sum(1).tolist() == counts
    for score, mask in zip(scores, chosen, strict=True):
        if mask.any() and not mask.all():
            assert score[mask].min() >= score[~mask].max()


@given(seed=st.integers(0, 999), count=st.integers(0, 12))
def test_must_run_cells_come_first(seed, count):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, 3, 4, generator=generator)
    must = torch.rand(2, 3, 4, generator=generator) < 0.3
    chosen = select_cells(scores, count, must)
    assert (chosen | ~must).all()
    forced = must.flatten(1).sum(1)
    assert chosen.flatten(1).sum(1).tolist() == forced.clamp(min=count).tolist()
    for score, mask, forced_mask in zip(scores, chosen, must, strict=True):
        free = mask & ~forced_mask
        if free.any() and not mask.all():
            assert score[free].min() >= score[~mask].max()


def test_ties_go_to_the_lower_index_and_nan_ranks_last():
    chosen = select_cells(torch.zeros(1, 2, 3), 2)
    assert chosen.flatten().tolist() == [True, True, False, False, False, False]
    scores = torch.tensor([[[float("nan"), -3.0, float("-inf"), float("inf")]]])
    assert select_cells(scores, 2).flatten().tolist() == [False, True, False, True]


def test_bf16_scores():
    scores = torch.arange(8.0).view(1, 2, 4).bfloat16()
    assert select_cells(scores, 3).flatten().nonzero().flatten().tolist() == [5, 6, 7]


def test_bad_selections_are_refused():
    scores = torch.zeros(2, 2, 2)
    with pytest.raises(ValueError, match="0 to 4 cells; got 5"):
        select_cells(scores, 5)
    with pytest.raises(ValueError, match="or 2 numbers"):
        select_cells(scores, [1])
    with pytest.raises(ValueError, match="must_run must have the shape"):
        select_cells(scores, 1, torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"scores must be \(N, GH, GW\)"):
        select_cells(scores[0], 1)
