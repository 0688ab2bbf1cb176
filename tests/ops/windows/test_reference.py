"""Halos: every window holds what a padded map holds there."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdyn.blocks import BlockGrid, Level
from mmdyn.ops.cells import gather_cells
from mmdyn.ops.windows import gather_windows, ring_rows, write_ring

MODES = ["constant", "replicate", "reflect", "circular"]


def windows(dense, grid, halo, mode="constant", fill=0.0):
    """All windows of a dense map, by way of rings."""
    block = tuple(n // g for n, g in zip(dense.shape[2:], grid.size, strict=True))
    packed = gather_cells(dense, grid.lines(Level.FULL, block), block[1])
    reach = max(halo) + 1
    ring = grid.ring(block, (reach,) * 4)
    store = dense.new_full((1 + dense.shape[0] * grid.cells * ring.count, dense.shape[1]), fill)
    store = write_ring(store, grid.ring_rows(Level.FULL, ring.count), packed, ring.positions)
    index, places = grid.halo(Level.FULL, block, halo, (reach,) * 4, mode)
    return gather_windows(packed, store, index, places, halo), block


@settings(max_examples=40)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(*[st.integers(0, 6)] * 4),
    st.sampled_from(MODES),
)
def test_a_window_is_a_part_of_the_padded_map(shape, block, halo, mode):
    n, gh, gw = shape
    dense = torch.randn(n, 3, gh * block[0], gw * block[1])
    if mode in ("reflect", "circular"):
        limits = [side - (mode == "reflect") for side in dense.shape[2:]]
        halo = tuple(min(h, limits[i // 2]) for i, h in enumerate(halo))
    grid = BlockGrid.filled(Level.FULL, n, (gh, gw), block)
    got, _ = windows(dense, grid, halo, mode)
    top, bottom, left, right = halo
    padded = F.pad(dense, (left, right, top, bottom), mode)
    height, width = block[0] + top + bottom, block[1] + left + right
    for i, window in enumerate(got):
        image, cell = divmod(i, gh * gw)
        y, x = cell // gw * block[0], cell % gw * block[1]
        assert torch.equal(window, padded[image, :, y : y + height, x : x + width])


def test_gradients_of_windows():
    grid = BlockGrid.filled(Level.FULL, 1, (2, 2), (2, 3))
    dense = torch.randn(1, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    for mode in MODES:
        assert torch.autograd.gradcheck(
            lambda d, m=mode: windows(d, grid, (1, 1, 2, 0), m)[0], dense
        )


@pytest.mark.parametrize("whole", [True, False])
def test_writing_a_ring_leaves_the_rest_of_the_store(whole):
    blocks = torch.randn(2, 3, 2, 2)
    ring = None if whole else torch.tensor([0, 3])
    count = 4 if whole else 2
    store = torch.zeros(1 + 3 * count, 3)
    rows = torch.cat([torch.arange(count) + 1, torch.arange(count) + 1 + 2 * count])
    out = write_ring(store, rows, blocks, ring)
    assert out is store and not store[0].any() and not store[1 + count : 1 + 2 * count].any()
    assert torch.equal(store[rows], ring_rows(blocks, ring))
