"""Weights in panels, and the operators that convolve with them (``csrc/packed_conv.cpp``)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.ops.conv import reference
from mmdyn.ops.conv.reference import Epilogue
from mmdyn.ops.library import define

PANEL = 32  # as kPanel in csrc/tiles.h
_STEP = 32  # as kStep in csrc/amx.h
_PRODUCTS = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))


def pack_panels(weight: Tensor) -> Tensor:
    """A weight (Cout, Cin, kh, kw) as panels of 32 output channels, with zeros behind.

    Returns:
        (ceil(Cout / 32), K, 32), where K = kh * kw * Cin; in bfloat16, K padded to whole tiles,
        (ceil(Cout / 32), K / 2, 32, 2).
    """
    rows = weight.permute(0, 2, 3, 1).flatten(1)
    halves = weight.dtype == torch.bfloat16
    rows = F.pad(rows, (0, -rows.shape[1] % _STEP if halves else 0, 0, -len(rows) % PANEL))
    panels = rows.unflatten(0, (-1, PANEL))
    if halves:
        return panels.unflatten(2, (-1, 2)).transpose(1, 2).contiguous()
    return panels.transpose(1, 2).contiguous()


def pad_bias(bias: Tensor | None) -> Tensor | None:
    """A bias (Cout,) in float32 with zeros behind, for whole panels of any size."""
    return None if bias is None else F.pad(bias.float(), (0, PANEL)).contiguous()


def unpack_panels(packed: Tensor, outputs: int, kernel: Sequence[int], channels: int) -> Tensor:
    """Panels as a weight (Cout, Cin, kh, kw)."""
    rows = packed.transpose(1, 2).flatten(0, 1).flatten(1)
    rows = rows[:outputs, : kernel[0] * kernel[1] * channels]
    return rows.unflatten(1, (*kernel, channels)).permute(0, 3, 1, 2)


def pack_squares(weight: Tensor, panel: int = PANEL) -> Tensor:
    """A weight (Cout, Cin, 3, 3) for Winograd's F(2x2, 3x3): panels (n, 16, Cin, 32) of products.

    With another `panel` the operator computes so many output channels at once, with a register for
    one channel of many squares.

    Four outputs take 16 products instead of 36 (Lavin and Gray, CVPR 2016). Float32 only, where the
    result is as near to the exact one as by taps.
    """
    left = torch.tensor(_PRODUCTS, dtype=torch.float64)
    planes = torch.einsum("ij,ocjk,lk->iloc", left, weight.double(), left).flatten(0, 1)
    planes = F.pad(planes.to(weight.dtype), (0, 0, 0, -weight.shape[0] % panel))
    return planes.unflatten(1, (-1, panel)).permute(1, 0, 3, 2).contiguous()


def _unpack_squares(packed: Tensor, outputs: int) -> Tensor:
    """Their weight (Cout, Cin, 3, 3)."""
    planes = packed.permute(0, 3, 2, 1).flatten(0, 1)[:outputs].unflatten(2, (4, 4)).double()
    back = torch.linalg.pinv(torch.tensor(_PRODUCTS, dtype=torch.float64))
    return torch.einsum("ij,ocjk,lk->ocil", back, planes, back).to(packed.dtype)


def _packed_windows(
    blocks: Tensor, store: Tensor | None, index: Tensor | None, places: Tensor | None,
    halo: Sequence[int], packed: Tensor, outputs: int, kernel: Sequence[int], bias: Tensor | None,
    stride: Sequence[int], dilation: Sequence[int], relu: bool, residual: Tensor | None,
) -> Tensor:  # fmt: skip
    """A convolution over blocks whose halos lie in a ring store, or over whole windows.

    Args:
        blocks, store, index, places, halo: As in ``ops.windows.gather_windows``; without a halo
            there need be no store.
        packed: See `pack_panels` and `pack_squares`.
        outputs: Cout.
        kernel, stride, dilation: Pairs.
        bias: See `pad_bias`.
        relu: Whether ReLU follows, after the residual.
        residual: (n, Cout, Hout, Wout) to add, or None.

    Returns:
        (n, Cout, Hout, Wout), channels-last.
    """
    if packed.dim() == 4 and packed.dtype == torch.float32:
        weight = _unpack_squares(packed, outputs)
    else:
        weight = unpack_panels(packed, outputs, kernel, blocks.shape[1])
    bias = None if bias is None else bias[:outputs].to(blocks.dtype)
    if store is None or index is None or places is None:
        out = F.conv2d(blocks, weight, bias, list(stride), 0, list(dilation))
        out = Epilogue("relu" if relu else None)(out, residual)
        return out.contiguous(memory_format=torch.channels_last)
    return reference.conv_windows(
        blocks, store, index, places, halo, weight.permute(2, 3, 1, 0), bias, stride, dilation, 1,
        "relu" if relu else "", (), residual,
    )  # fmt: skip


def _packed_rows(
    store: Tensor, index: Tensor | None, packed: Tensor, outputs: int, bias: Tensor | None,
    relu: bool, residual: Tensor | None,
) -> Tensor:  # fmt: skip
    """A convolution whose inputs are rows that an index names; without one, a matrix product.

    Args:
        store: (rows, Cin).
        index: (M, k) int64 rows of the store under each of the k kernel taps, or None.
        packed: See `pack_panels`.
        outputs: Cout.
        bias: See `pad_bias`.
        relu: Whether ReLU follows, after the residual.
        residual: (M, Cout) to add, or None.

    Returns:
        (M, Cout).
    """
    taps = 1 if index is None else index.shape[1]
    if index is None:
        index = torch.arange(len(store), device=store.device)[:, None]
    weight = unpack_panels(packed, outputs, (taps, 1), store.shape[1])
    return reference.conv_taps(
        store, index, weight[..., 0].permute(2, 1, 0),
        None if bias is None else bias[:outputs].to(store.dtype), False,
        "relu" if relu else "", (), residual,
    )  # fmt: skip


packed_windows = define(
    "packed_windows(Tensor blocks, Tensor? store, Tensor? index, Tensor? places, int[] halo, "
    "Tensor packed, int outputs, int[] kernel, Tensor? bias, int[] stride, int[] dilation, "
    "bool relu, Tensor? residual) -> Tensor",
    _packed_windows,
)
packed_rows = define(
    "packed_rows(Tensor store, Tensor? index, Tensor packed, int outputs, Tensor? bias, "
    "bool relu, Tensor? residual) -> Tensor",
    _packed_rows,
)
