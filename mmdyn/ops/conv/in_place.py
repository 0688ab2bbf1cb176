"""Convolutions that read each block's halo where it lies, instead of from a gathered window."""

from __future__ import annotations

import torch
from torch import Tensor

from mmdyn.ops.conv import reference
from mmdyn.ops.conv.packed import halos_pay, tiles_serve
from mmdyn.ops.library import define, serve_cuda, triton_is_there

conv_windows = define(
    "conv_windows(Tensor blocks, Tensor store, Tensor index, Tensor places, int[] halo, "
    "Tensor weight, Tensor? bias, int[] stride, int[] dilation, int groups, str activation, "
    "float[] scalars, Tensor? residual) -> Tensor",
    reference.conv_windows,
)
conv_taps = define(
    "conv_taps(Tensor store, Tensor index, Tensor weight, Tensor? bias, bool depthwise, "
    "str activation, float[] scalars, Tensor? residual) -> Tensor",
    reference.conv_taps,
)
serve_cuda("conv_windows", "mmdyn.ops.conv.triton_kernel", reference.conv_windows)
serve_cuda("conv_taps", "mmdyn.ops.conv.triton_kernel", reference.conv_taps)

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def reads_in_place(x: Tensor, groups: int = 1) -> bool:
    """Whether convolutions of `x` need no gathered windows: where a kernel reads the halos."""
    if x.device.type == "cuda":
        return x.dtype in _DTYPES and triton_is_there()
    return tiles_serve(x, groups) and halos_pay(x)


def halo_means(store: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """A store and index (n, L) that hold the means which an index (n, L, 4) asks for."""
    n, count, four = index.shape
    means = store.index_select(0, index.reshape(-1)).view(-1, four, store.shape[1]).mean(1)
    return means, torch.arange(n * count, device=index.device).view(n, count)
