"""Float32 convolutions compiled for this purpose (``csrc/packed_conv.cpp``): windows of any size.

oneDNN fills its registers with the pixels of one row of one window, and reads a heavy weight anew
for every window. These take pixels of all windows together, whichever side they have, and read
each where it lies: in its block, in the ring store, or in a row that an index names.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.ops.conv import reference
from mmdyn.ops.conv.reference import Epilogue, Windows
from mmdyn.ops.library import define

PANEL = 32  # as kPanel in csrc/tiles.h
LEAST_CHANNELS = 16  # fewer are too little to copy at once
_NO_HALO = (0, 0, 0, 0)


def pack_panels(weight: Tensor) -> Tensor:
    """A weight (Cout, Cin, kh, kw) as panels (ceil(Cout / 32), kh * kw * Cin, 32), zeros behind."""
    rows = weight.permute(0, 2, 3, 1).flatten(1)
    rows = F.pad(rows, (0, 0, 0, -len(rows) % PANEL))
    return rows.unflatten(0, (-1, PANEL)).transpose(1, 2).contiguous()


def pad_bias(bias: Tensor | None) -> Tensor | None:
    """A bias (Cout,) with zeros behind, up to whole panels."""
    return None if bias is None else F.pad(bias, (0, -len(bias) % PANEL)).contiguous()


def unpack_panels(packed: Tensor, outputs: int, taps: int) -> Tensor:
    """Panels as a weight (taps, Cin, Cout)."""
    rows = packed.transpose(1, 2).flatten(0, 1)[:outputs]
    return rows.unflatten(1, (taps, -1)).permute(1, 2, 0)


def _packed_windows(
    blocks: Tensor, store: Tensor | None, index: Tensor | None, places: Tensor | None,
    halo: Sequence[int], packed: Tensor, outputs: int, kernel: Sequence[int], bias: Tensor | None,
    stride: Sequence[int], dilation: Sequence[int], relu: bool, residual: Tensor | None,
) -> Tensor:  # fmt: skip
    """A convolution over blocks whose halos lie in a ring store, or over whole windows.

    Args:
        blocks, store, index, places, halo: As in ``ops.windows.gather_windows``; without a halo
            there need be no store.
        packed: See `pack_panels`.
        outputs: Cout.
        kernel, stride, dilation: Pairs.
        bias: See `pad_bias`.
        relu: Whether ReLU follows, after the residual.
        residual: (n, Cout, Hout, Wout) to add, or None.

    Returns:
        (n, Cout, Hout, Wout), channels-last.
    """
    taps = unpack_panels(packed, outputs, kernel[0] * kernel[1]).unflatten(0, tuple(kernel))
    bias = None if bias is None else bias[:outputs]
    if store is None or index is None or places is None:
        out = F.conv2d(blocks, taps.permute(3, 2, 0, 1), bias, list(stride), 0, list(dilation))
        out = Epilogue("relu" if relu else None)(out, residual)
        return out.contiguous(memory_format=torch.channels_last)
    return reference.conv_windows(
        blocks, store, index, places, halo, taps, bias, stride, dilation, 1,
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
    return reference.conv_taps(
        store, index, unpack_panels(packed, outputs, taps),
        None if bias is None else bias[:outputs], False, "relu" if relu else "", (), residual,
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


@lru_cache(maxsize=1)
def tiles_work() -> bool:
    """Whether the compiled convolution is there, this processor runs it, and it is right."""
    try:
        if not torch.ops.mmdyn.tile_bits():
            return False
    except AttributeError:  # not compiled
        return False
    rows = torch.linspace(-1, 1, 20 * LEAST_CHANNELS).view(20, LEAST_CHANNELS)
    index = (torch.arange(80) * 7 % 20).view(20, 4)
    weight = torch.linspace(1, -1, 40 * LEAST_CHANNELS * 4).view(40, LEAST_CHANNELS, 2, 2)
    args = (rows, index, pack_panels(weight), 40, None, True, None)
    with torch.no_grad():
        return torch.allclose(packed_rows(*args), _packed_rows(*args), rtol=1e-4, atol=1e-4)


def tiles_serve(x: Tensor | Windows, groups: int = 1) -> bool:
    """Whether convolutions of `x`, blocks or rows with channels second, are run so."""
    data = x.blocks if isinstance(x, Windows) else x
    fits = data.device.type == "cpu" and x.dtype == torch.float32 and x.shape[1] >= LEAST_CHANNELS
    return fits and groups == 1 and tiles_work()


class PackedPanels:
    """A convolution's weight and bias in panels.

    Args:
        weight: (Cout, Cin, kh, kw), float32 on a CPU.
        bias: (Cout,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.outputs, self.kernel = weight.shape[0], tuple(weight.shape[2:])
        self.packed, self.bias = pack_panels(weight), pad_bias(bias)

    def windows(
        self, x: Tensor | Windows, stride, dilation, epilogue: Epilogue, residual: Tensor | None
    ) -> Tensor:
        """See `_packed_windows`; whole windows (n, Cin, H, W), or where they lie."""
        blocks, store, index, places, halo = (
            x if isinstance(x, Windows) else (x, None, None, None, _NO_HALO)
        )
        relu, rest = _split(epilogue)
        out = packed_windows(
            blocks, store, index, places, halo, self.packed, self.outputs, self.kernel, self.bias,
            stride, dilation, relu, residual,
        )  # fmt: skip
        return out if rest is None else rest(out, None)

    def rows(
        self, store: Tensor, index: Tensor | None, epilogue: Epilogue, residual: Tensor | None
    ) -> Tensor:
        """See `_packed_rows`."""
        relu, rest = _split(epilogue)
        out = packed_rows(store, index, self.packed, self.outputs, self.bias, relu, residual)
        return out if rest is None else rest(out, None)


def _split(epilogue: Epilogue) -> tuple[bool, Epilogue | None]:
    """Whether it is ReLU, and what else is left to do."""
    relu = epilogue.activation == "relu"
    return relu, None if relu or epilogue.activation is None else epilogue
