"""Blocks with their halo, and the rows that neighbours read."""

from mmdyn.ops.windows.reference import (
    gather_windows,
    ring_rows,
    write_ring,
)

__all__ = ["gather_windows", "ring_rows", "write_ring"]
