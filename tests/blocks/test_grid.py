"""A frame's decision and the maps that follow from it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdyn.blocks import BlockGrid, Level


def test_counts_shares_and_sizes():
    levels = torch.tensor([[[0, 1, 2], [1, 1, 0]], [[0, 0, 0], [2, 2, 2]]])
    grid = BlockGrid(levels, (16, 32))
    assert (grid.num_images, grid.size, grid.cells) == (2, (2, 3), 6)
    assert grid.image_size == (32, 96)
    assert grid.count(Level.FULL) == 3 and grid.count(Level.HALF) == 4
    assert grid.executed_share == (3 + 0.25 * 4) / 12
    assert grid.has_halves and grid.complete == [False, False]
    assert grid.images(Level.FULL).tolist() == [0, 0, 0]
    assert grid.images(Level.HALF).tolist() == [0, 1, 1, 1]


def test_a_filled_grid_is_complete():
    for level in Level:
        grid = BlockGrid.filled(level, 2, (2, 2), (8, 8), slots=[3, 1])
        assert grid.complete == [level != Level.COPIED] * 2
    assert grid.store_cells(Level.HALF).tolist() == [12, 13, 14, 15, 4, 5, 6, 7]


@pytest.mark.parametrize("levels", [torch.zeros(2, 2).int(), torch.zeros(1, 2, 2)], ids=str)
def test_levels_are_an_integer_tensor_of_three_dimensions(levels):
    with pytest.raises(ValueError, match=r"\(N, GH, GW\)"):
        BlockGrid(levels, (8, 8))


@pytest.mark.parametrize("bad", [3, 255, -1])
def test_levels_that_do_not_exist_are_refused(bad):
    with pytest.raises(ValueError, match="Level"):
        BlockGrid(torch.tensor([[[0, bad]]]), (8, 8))


def test_a_mask_is_levels():
    assert BlockGrid(torch.tensor([[[True, False]]]), (8, 8)).count(Level.FULL) == 1


def test_maps_are_made_once():
    grid = BlockGrid.filled(Level.FULL, 1, (2, 2), (8, 8))
    assert grid.lines(Level.FULL, (4, 4)) is grid.lines(Level.FULL, (4, 4))
    assert grid.lines(Level.FULL, (4, 4)) is not grid.lines(Level.FULL, (2, 4))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.data())
def test_slots_move_maps_and_nothing_else(images, gh, gw, side, data):
    levels = torch.tensor(
        data.draw(st.lists(st.integers(0, 1), min_size=images * gh * gw, max_size=images * gh * gw))
    ).view(images, gh, gw)
    slots = data.draw(st.permutations(range(images + 2)))[:images]
    plain = BlockGrid(levels, (side, side))
    moved = BlockGrid(levels, (side, side), slots)
    block, count = (side, side), plain.ring((side, side), (1, 1, 1, 1)).count
    offsets = torch.tensor(slots)[plain.images(Level.FULL)] - plain.images(Level.FULL)
    rows = plain.ring_rows(Level.FULL, count).view(-1, count)
    shifted = rows + offsets[:, None] * gh * gw * count
    assert torch.equal(moved.ring_rows(Level.FULL, count).view(-1, count), shifted)
    args = (Level.FULL, block, (1, 1, 1, 1), (1, 1, 1, 1), "constant")
    (before, places), (after, same) = plain.halo(*args), moved.halo(*args)
    assert torch.equal(places, same)
    assert torch.equal(before == 0, after == 0)
    inside = before > 0
    want = before + offsets[:, None] * gh * gw * count
    assert torch.equal(after[inside], want[inside])
    lines = moved.lines(Level.FULL, block, slotted=True)
    wanted = plain.lines(Level.FULL, block) + offsets[:, None] * gh * gw * side
    assert torch.equal(lines, wanted)
