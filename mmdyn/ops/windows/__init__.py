"""Blocks with their halo, and the rows that neighbours read."""

import torch
from torch import Tensor

from mmdyn.ops.library import define, serve_cuda
from mmdyn.ops.windows import reference
from mmdyn.ops.windows.reference import ring_rows, spread_windows

__all__ = ["gather_windows", "ring_rows", "spread_windows", "write_ring"]

gather_windows = define(
    "gather_windows(Tensor blocks, Tensor store, Tensor index, Tensor places, int[] halo) "
    "-> Tensor",
    reference.gather_windows,
)
_write_ring = define(
    "write_ring(Tensor(a!) store, Tensor rows, Tensor blocks, Tensor? ring) -> ()",
    reference.write_ring_,
)
serve_cuda("gather_windows", "mmdyn.ops.windows.triton_kernel", reference.gather_windows)
serve_cuda("write_ring", "mmdyn.ops.windows.triton_kernel", reference.write_ring_)


def write_ring(store: Tensor, rows: Tensor, blocks: Tensor, ring: Tensor | None) -> Tensor:
    """See ``reference.write_ring``."""
    if blocks.requires_grad and torch.is_grad_enabled():
        return reference.write_ring(store, rows, blocks, ring)
    _write_ring(store, rows, blocks, ring)
    return store
