"""Blocks out of dense maps and back, and sums into them."""

from torch import Tensor

from mmdyn.ops.cells import reference
from mmdyn.ops.library import define, serve_cuda

__all__ = ["add_rows", "gather_cells", "scatter_cells"]

gather_cells = define(
    "gather_cells(Tensor dense, Tensor lines, int width) -> Tensor", reference.gather_cells
)
_scatter_cells = define(
    "scatter_cells(Tensor(a!) dense, Tensor lines, Tensor blocks) -> ()", reference.scatter_cells
)
_add_rows = define(
    "add_rows(Tensor(a!) rows, Tensor index, Tensor values, bool relu) -> ()", reference.add_rows
)
serve_cuda("gather_cells", "mmdyn.ops.cells.triton_kernel", reference.gather_cells)
serve_cuda("scatter_cells", "mmdyn.ops.cells.triton_kernel", reference.scatter_cells)


def scatter_cells(dense: Tensor, lines: Tensor, blocks: Tensor) -> Tensor:
    """See ``reference.scatter_cells``; returns `dense`."""
    _scatter_cells(dense, lines, blocks)
    return dense


def add_rows(rows: Tensor, index: Tensor, values: Tensor, relu: bool = False) -> Tensor:
    """See ``reference.add_rows``; returns `rows`."""
    _add_rows(rows, index, values, relu)
    return rows
