"""Blocks out of dense maps and back."""

from torch import Tensor

from mmdyn.ops.cells import reference
from mmdyn.ops.library import define, serve_cuda

__all__ = ["gather_cells", "scatter_cells"]

gather_cells = define(
    "gather_cells(Tensor dense, Tensor lines, int width) -> Tensor", reference.gather_cells
)
_scatter_cells = define(
    "scatter_cells(Tensor(a!) dense, Tensor lines, Tensor blocks) -> ()", reference.scatter_cells
)
serve_cuda("gather_cells", "mmdyn.ops.cells.triton_kernel", reference.gather_cells)
serve_cuda("scatter_cells", "mmdyn.ops.cells.triton_kernel", reference.scatter_cells)


def scatter_cells(dense: Tensor, lines: Tensor, blocks: Tensor) -> Tensor:
    """See ``reference.scatter_cells``; returns `dense`."""
    _scatter_cells(dense, lines, blocks)
    return dense
