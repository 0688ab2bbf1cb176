"""The kernels of windows against the reference; without a GPU in Triton's interpreter."""

import pytest
import torch

from mmdyn.blocks import BlockGrid, Level
from mmdyn.ops.windows import reference

pytest.importorskip("triton")
kernels = pytest.importorskip("mmdyn.ops.windows.triton_kernel")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CELLS = {"none": [], "one": [2], "some": [0, 3, 4], "all": list(range(6))}
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


def grid_of(cells, level=Level.FULL, block=(4, 6)):
    levels = torch.zeros(6, dtype=torch.uint8, device=DEVICE)
    levels[cells] = int(level)
    return BlockGrid(levels.view(1, 2, 3), block)


def packed(count, channels, block, dtype=torch.float32):
    x = torch.randn(count, channels, *block, device=DEVICE).to(dtype)
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 5, 300])
@pytest.mark.parametrize("halo", [(1, 1, 1, 1), (0, 2, 3, 0), (5, 0, 0, 7), (0, 0, 1, 0)], ids=str)
@pytest.mark.parametrize("cells", CELLS)
def test_windows(cells, halo, channels):
    grid, block = grid_of(CELLS[cells]), (4, 6)
    blocks = packed(len(CELLS[cells]), channels, block)
    depth = (7, 7, 7, 7)
    store = torch.randn(1 + 6 * grid.ring(block, depth).count, channels, device=DEVICE)
    for mode in ("constant", "replicate"):
        index, places = grid.halo(Level.FULL, block, halo, depth, mode)
        wanted = reference.gather_windows(blocks, store, index, places, halo)
        got = kernels.gather_windows(blocks, store, index, places, halo)
        assert torch.equal(got, wanted)
        assert got.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_windows_of_half_resolution_read_means_of_four(dtype):
    grid, block = grid_of([1, 5], Level.HALF, (4, 4)), (4, 4)
    blocks = packed(2, 5, (2, 2), dtype)
    store = torch.randn(1 + 6 * 16, 5, device=DEVICE).to(dtype)
    index, places = grid.halo(Level.HALF, block, (1, 1, 1, 1), (2, 2, 2, 2), "constant")
    wanted = reference.gather_windows(blocks, store, index, places, (1, 1, 1, 1))
    got = kernels.gather_windows(blocks, store, index, places, (1, 1, 1, 1))
    limit = {torch.bfloat16: 1e-2, torch.float16: 1e-3}.get(dtype, 1e-6)
    assert got.dtype == dtype and torch.allclose(got, wanted, rtol=limit, atol=limit)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bool, torch.int64], ids=str)
@pytest.mark.parametrize("depth", [(1, 1, 1, 1), (0, 2, 1, 0), (4, 4, 4, 4)], ids=str)
@pytest.mark.parametrize("cells", CELLS)
def test_rings(cells, depth, dtype):
    grid, block = grid_of(CELLS[cells]), (4, 6)
    ring = grid.ring(block, depth)
    blocks = (packed(len(CELLS[cells]), 5, block) * 3).to(dtype)
    rows = grid.ring_rows(Level.FULL, ring.count)
    stores = [torch.zeros(1 + 6 * ring.count, 5, device=DEVICE, dtype=dtype) for _ in range(2)]
    reference.write_ring(stores[0], rows, blocks, ring.positions)
    assert kernels.write_ring(stores[1], rows, blocks, ring.positions) is None
    assert torch.equal(stores[1], stores[0])
    assert bool(stores[0].any()) == bool(CELLS[cells])
