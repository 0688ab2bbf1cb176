"""Blocks out of dense maps and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdyn.blocks import BlockGrid, Level
from mmdyn.ops.cells import add_rows, gather_cells, scatter_cells


def lines_of(cells, grid, block):
    levels = torch.zeros(grid[0] * grid[1] * grid[2], dtype=torch.uint8)
    levels[cells] = 1
    return BlockGrid(levels.view(grid), block).lines(Level.FULL, block)


grids = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))
blocks = st.tuples(st.integers(1, 5), st.integers(1, 5))


@given(grids, blocks, st.integers(1, 5), st.booleans(), st.randoms(use_true_random=False))
def test_gather_then_scatter_changes_nothing(grid, block, channels, last, random):
    total = grid[0] * grid[1] * grid[2]
    cells = sorted(random.sample(range(total), random.randint(0, total)))
    dense = torch.randn(grid[0], channels, grid[1] * block[0], grid[2] * block[1])
    if last:
        dense = dense.contiguous(memory_format=torch.channels_last)
    lines = lines_of(cells, grid, block)
    packed = gather_cells(dense, lines, block[1])
    for place, cell in enumerate(cells):
        image, rest = divmod(cell, grid[1] * grid[2])
        y, x = rest // grid[2] * block[0], rest % grid[2] * block[1]
        assert torch.equal(packed[place], dense[image, :, y : y + block[0], x : x + block[1]])
    copy = dense.contiguous(memory_format=torch.channels_last).clone()
    assert torch.equal(scatter_cells(copy, lines, packed), dense)
    scatter_cells(copy, lines, packed + 1)
    changed = (copy != dense).sum()
    assert changed == packed.numel()


def test_gradients_of_gathering():
    dense = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    lines = lines_of([0, 3, 5], (2, 2, 2), (2, 3))
    assert torch.autograd.gradcheck(lambda d: gather_cells(d, lines, 3), dense)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.bfloat16], ids=str)
def test_any_type_is_moved(dtype):
    dense = torch.randint(0, 2, (1, 2, 4, 4)).to(dtype)
    lines = lines_of([1, 2], (1, 2, 2), (2, 2))
    packed = gather_cells(dense, lines, 2)
    assert packed.dtype == dtype
    assert torch.equal(packed[0], dense[0, :, :2, 2:])


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("count", [0, 5])
def test_sums_into_rows(dtype, relu, count):
    rows, values = torch.randn(9, 37).to(dtype), torch.randn(count, 37).to(dtype)
    values[:1, 3] = float("nan")
    index = torch.tensor([7, 0, 3, 8, 4])[:count]
    wanted = rows.clone()
    for row, value in zip(index.tolist(), values):
        wanted[row] = (wanted[row] + value).relu() if relu else wanted[row] + value
    with torch.no_grad():
        got = add_rows(rows, index, values, relu)
    assert got is rows and torch.equal(got.nan_to_num(7), wanted.nan_to_num(7))
    assert int(got.isnan().sum()) == min(count, 1)


def test_gradients_of_sums():
    index = torch.tensor([4, 1])
    rows = torch.randn(5, 3, dtype=torch.float64)
    values = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: add_rows(rows.clone(), index, v, True), values)
