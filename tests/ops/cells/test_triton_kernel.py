"""The kernels of cells against the reference; without a GPU in Triton's interpreter."""

import pytest
import torch

from mmdyn.blocks import BlockGrid, Level
from mmdyn.ops.cells import reference

pytest.importorskip("triton")
kernels = pytest.importorskip("mmdyn.ops.cells.triton_kernel")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CELLS = {"none": [], "one": [5], "some": [0, 3, 4, 10], "all": list(range(12))}


def lines_of(cells, block):
    levels = torch.zeros(12, dtype=torch.uint8, device=DEVICE)
    levels[cells] = 1
    return BlockGrid(levels.view(2, 2, 3), block).lines(Level.FULL, block)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.bool, torch.int64], ids=str
)
@pytest.mark.parametrize("channels, block", [(1, (1, 1)), (5, (3, 2)), (700, (1, 2))])
@pytest.mark.parametrize("cells", CELLS)
def test_both_ways(cells, channels, block, dtype):
    lines = lines_of(CELLS[cells], block)
    dense = (torch.randn(2, channels, 2 * block[0], 3 * block[1], device=DEVICE) * 3).to(dtype)
    for given in (dense, dense.contiguous(memory_format=torch.channels_last)):
        wanted = reference.gather_cells(given, lines, block[1])
        assert torch.equal(kernels.gather_cells(given, lines, block[1]), wanted)
    maps = [dense.contiguous(memory_format=torch.channels_last).clone() for _ in range(2)]
    fresh = wanted.flip(0)
    reference.scatter_cells(maps[0], lines, fresh)
    assert kernels.scatter_cells(maps[1], lines, fresh.contiguous()) is None
    assert torch.equal(maps[1], maps[0])
