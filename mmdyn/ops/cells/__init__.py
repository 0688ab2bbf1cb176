"""Blocks out of dense maps and back."""

from mmdyn.ops.cells.reference import gather_cells, scatter_cells

__all__ = ["gather_cells", "scatter_cells"]
