"""Convolutions compiled for blocks (``csrc/packed_conv.cpp``): windows of any size.

oneDNN fills its registers with the pixels of one row of one window, and reads a heavy weight anew
for every window. These take pixels of all windows together, whichever side they have, and read
each where it lies: in its block, in the ring store, or in a row that an index names. Float32 needs
AVX-512 or AVX2, bfloat16 AMX.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.ops import compiled
from mmdyn.ops.conv import reference
from mmdyn.ops.conv.reference import Epilogue, Windows
from mmdyn.ops.library import define

logger = logging.getLogger(__name__)

PANEL = 32  # as kPanel in csrc/tiles.h
_STEP = 32  # as kStep in csrc/amx.h
FEW = 6  # pixels of a block's side that leave oneDNN's registers half empty
LEAST_CHANNELS = 16  # fewer are too little to copy at once
_NO_HALO = (0, 0, 0, 0)
_PRODUCTS = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
_WASTE = 1.7  # outputs computed for one that is wanted, where squares still pay


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
    """A bias (Cout,) in float32 with zeros behind, up to whole panels."""
    return None if bias is None else F.pad(bias.float(), (0, -len(bias) % PANEL)).contiguous()


def unpack_panels(packed: Tensor, outputs: int, kernel: Sequence[int], channels: int) -> Tensor:
    """Panels as a weight (Cout, Cin, kh, kw)."""
    rows = packed.transpose(1, 2).flatten(0, 1).flatten(1)
    rows = rows[:outputs, : kernel[0] * kernel[1] * channels]
    return rows.unflatten(1, (*kernel, channels)).permute(0, 3, 1, 2)


def pack_squares(weight: Tensor) -> Tensor:
    """A weight (Cout, Cin, 3, 3) for Winograd's F(2x2, 3x3): panels (n, 16, Cin, 32) of products.

    Four outputs take 16 products instead of 36 (Lavin and Gray, CVPR 2016). Float32 only, where the
    result is as near to the exact one as by taps.
    """
    left = torch.tensor(_PRODUCTS, dtype=torch.float64)
    planes = torch.einsum("ij,ocjk,lk->iloc", left, weight.double(), left).flatten(0, 1)
    planes = F.pad(planes.to(weight.dtype), (0, 0, 0, -weight.shape[0] % PANEL))
    return planes.unflatten(1, (-1, PANEL)).permute(1, 0, 3, 2).contiguous()


def _unpack_squares(packed: Tensor, outputs: int) -> Tensor:
    """Their weight (Cout, Cin, 3, 3)."""
    planes = packed.permute(0, 3, 2, 1).flatten(0, 1)[:outputs].unflatten(2, (4, 4)).double()
    back = torch.linalg.pinv(torch.tensor(_PRODUCTS, dtype=torch.float64))
    return torch.einsum("ij,ocjk,lk->ocil", back, planes, back).to(packed.dtype)


def squares_pay(side, weight: Tensor, stride, dilation) -> bool:
    """Whether a convolution of that many outputs a side is computed in squares of two by two.

    Measured by tools/benchmark_convs.py: 1.3 to 1.7 times as fast as by taps where all squares are
    full, 1.1 times at 5x5 outputs.
    """
    fits = weight.dtype == torch.float32 and tuple(weight.shape[2:]) == (3, 3)
    if not fits or tuple(stride) != (1, 1):
        return False
    area = computed = 1
    for length, step in zip(side, dilation):
        area *= length
        computed *= 2 * sum(-(-(length - p) // (2 * step)) for p in range(min(step, length)))
    return computed <= _WASTE * area


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


@lru_cache(maxsize=4)
def tiles_work(dtype: torch.dtype = torch.float32) -> bool:
    """Whether the compiled convolution is there, runs on this processor in a type, and is right."""
    try:
        served = {
            torch.float32: torch.ops.mmdyn.tile_bits() > 0,
            torch.bfloat16: torch.ops.mmdyn.has_amx(),
        }
    except AttributeError:  # not compiled
        if dtype == torch.float32 and compiled.wanted():
            logger.warning(
                "mmdyn's operators are not compiled for this PyTorch, so convolutions on blocks "
                "are slower: run python -m mmdyn.ops.compiled once"
            )
        return False
    return served.get(dtype, False) and _is_right(dtype)


@torch.no_grad()
def _is_right(dtype: torch.dtype) -> bool:
    """Whether a small example of each kind agrees with its reference; logged if not."""
    rows = torch.linspace(-1, 1, 32 * LEAST_CHANNELS).view(32, LEAST_CHANNELS).to(dtype)
    index = (torch.arange(80) * 7 % 20).view(20, 4)
    weight = torch.linspace(1, -1, 40 * LEAST_CHANNELS * 9).view(40, LEAST_CHANNELS, 3, 3)
    weight = weight.to(dtype)
    taps = pack_panels(weight[:, :, :2, :2])
    pairs = [
        tuple(run(rows, index, taps, 40, None, True, None) for run in (packed_rows, _packed_rows))
    ]
    if dtype == torch.float32:
        windows, squares = rows.view(2, 4, 4, -1).permute(0, 3, 1, 2), pack_squares(weight)
        pairs.append(
            tuple(
                run(windows, None, None, None, _NO_HALO, squares, 40, (3, 3), None, (1, 1), (1, 1),
                    True, None)
                for run in (packed_windows, _packed_windows)
            )
        )  # fmt: skip
    near = 1e-4 if dtype == torch.float32 else 2e-2
    if all(torch.allclose(got, wanted, rtol=near, atol=near) for got, wanted in pairs):
        return True
    logger.warning("the compiled convolutions are wrong here in %s and not used", dtype)
    return False


def tiles_serve(x: Tensor | Windows, groups: int = 1) -> bool:
    """Whether convolutions of `x`, blocks or rows with channels second, can be run so."""
    data = x.blocks if isinstance(x, Windows) else x
    if data.device.type != "cpu" or data.shape[1] < LEAST_CHANNELS or groups != 1:
        return False
    return tiles_work(data.dtype)


def output_side(x: Tensor | Windows, kernel, dilation) -> tuple[int, int]:
    """Outputs a side of a convolution at stride 1."""
    top, bottom, left, right = x.halo if isinstance(x, Windows) else _NO_HALO
    height, width = x.shape[2] + top + bottom, x.shape[3] + left + right
    return height - dilation[0] * (kernel[0] - 1), width - dilation[1] * (kernel[1] - 1)


def tiles_pay(x: Tensor) -> bool:
    """Whether they are faster than oneDNN's, for blocks whose halo is not in place or not there.

    Measured by tools/benchmark_convs.py on a Xeon with AMX, 2 threads: 512 to 512 channels at 5x5
    pixels 7.1 ms for 10.7, in bfloat16 1.6 for 2.4; at 2x2 3.0 for 11.5 and 0.9 for 3.9. On large
    windows they are as fast in float32, where no window need be gathered for them, and half as
    fast in bfloat16.
    """
    return x.dim() == 2 or min(x.shape[2:]) <= FEW + 2


def halos_pay(blocks: Tensor) -> bool:
    """Whether they are faster where each halo is read in place instead of gathered."""
    return blocks.dim() == 2 or blocks.dtype == torch.float32 or min(blocks.shape[2:]) <= FEW


class PackedPanels:
    """A convolution's weight and bias in panels, packed when they are first needed.

    Args:
        weight: (Cout, Cin, kh, kw), on a CPU.
        bias: (Cout,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, pad_bias(bias)
        self.outputs, self.kernel = weight.shape[0], tuple(weight.shape[2:])
        self._packed: dict[bool, Tensor] = {}

    def packed(self, squares: bool = False) -> Tensor:
        """The weight of taps, or of the products of squares."""
        if squares not in self._packed:
            self._packed[squares] = (pack_squares if squares else pack_panels)(self.weight)
        return self._packed[squares]

    def windows(
        self, x: Tensor | Windows, stride, dilation, epilogue: Epilogue, residual: Tensor | None
    ) -> Tensor:
        """See `_packed_windows`; whole windows (n, Cin, H, W), or where they lie."""
        blocks, store, index, places, halo = (
            x if isinstance(x, Windows) else (x, None, None, None, _NO_HALO)
        )
        relu, rest = _split(epilogue)
        squares = squares_pay(output_side(x, self.kernel, dilation), self.weight, stride, dilation)
        out = packed_windows(
            blocks, store, index, places, halo, self.packed(squares), self.outputs, self.kernel,
            self.bias, stride, dilation, relu, residual,
        )  # fmt: skip
        return out if rest is None else rest(out, None)

    def rows(
        self, store: Tensor, index: Tensor | None, epilogue: Epilogue, residual: Tensor | None
    ) -> Tensor:
        """See `_packed_rows`."""
        relu, rest = _split(epilogue)
        out = packed_rows(store, index, self.packed(), self.outputs, self.bias, relu, residual)
        return out if rest is None else rest(out, None)


def _split(epilogue: Epilogue) -> tuple[bool, Epilogue | None]:
    """Whether it is ReLU, and what else is left to do."""
    relu = epilogue.activation == "relu"
    return relu, None if relu or epilogue.activation is None else epilogue
