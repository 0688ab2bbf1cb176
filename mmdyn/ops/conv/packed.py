"""Convolutions compiled for blocks (``csrc/packed_conv.cpp``): windows of any size.

oneDNN fills its registers with the pixels of one row of one window, and reads a heavy weight anew
for every window. These take pixels of all windows together, whichever side they have, and read
each where it lies: in its block, in the ring store, or in a row that an index names. Float32 needs
AVX-512 or AVX2, bfloat16 AMX. Squares (``panels.pack_squares``) add and subtract pixels before they
multiply: an infinite one makes NaN of outputs that would be infinite, in the squares that read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from mmdyn.ops.conv.panels import (
    PANEL,
    pack_panels,
    pack_squares,
    packed_rows,
    packed_windows,
    pad_bias,
)
from mmdyn.ops.conv.reference import Epilogue, Windows
from mmdyn.ops.conv.trial import tiles_work
from mmdyn.ops.library import is_plain

FEW = 6  # pixels of a block's side that leave oneDNN's registers half empty
LEAST_CHANNELS = 16  # fewer are too little to copy at once
_NO_HALO = (0, 0, 0, 0)
_LANES = {512: 24, 256: 12}  # by bits of a register: as kLanes in csrc/tiles.h
_RUN = 4  # squares beside each other, as kFewest in csrc/by_lanes.h
_WASTE = 1.7  # outputs computed for one that is wanted, where squares still pay


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


def lanes(width: int, outputs: int) -> int:
    """Output channels computed at once where a register holds one channel of many squares; else 0.

    Registers of channels are half empty at 18 of them. Measured by tools/benchmark_convs.py on a
    Xeon with AVX-512, 2 threads, 38 windows: 18 to 18 channels at 32x32 pixels 0.86 ms for 1.50
    (oneDNN 1.13), 36 at 16x16 0.56 for 0.82. Registers of channels that are full, as at 64, are
    faster; those of AVX2, half as wide, nearly are from 24 channels on.

    Args:
        width: Outputs in a row of a window, at stride 1 and without dilation.
        outputs: Output channels.
    """
    bits = _bits()
    few = outputs < 64 or 0 < outputs % PANEL <= 8 if bits == 512 else outputs < 24
    if not few or bits not in _LANES or -(-width // 2) % _RUN:
        return 0
    return -(-outputs // -(-outputs // _LANES[bits]))


@lru_cache(maxsize=1)
def _bits() -> int:
    """Of the registers in use; 0 where nothing is compiled."""
    known = getattr(torch.ops.mmdyn, "tile_bits", None)
    return 0 if known is None else known()


def tiles_serve(x: Tensor | Windows, groups: int = 1) -> bool:
    """Whether convolutions of `x`, blocks or rows with channels second, can be run so."""
    data = x.blocks if isinstance(x, Windows) else x
    if data.device.type != "cpu" or data.shape[1] < LEAST_CHANNELS or groups != 1:
        return False
    return is_plain(data) and tiles_work(data.dtype)


def output_side(size: Sequence[int], kernel, dilation) -> tuple[int, int]:
    """Outputs a side of a convolution at stride 1 over windows of a height and width."""
    height, width = (s - d * (k - 1) for s, d, k in zip(size, dilation, kernel))
    return height, width


def tiles_pay(side: tuple[int, int], kernel: Sequence[int]) -> bool:
    """Whether they are faster than oneDNN's, for blocks whose halo is not in place or not there.

    Measured by tools/benchmark_convs.py on a Xeon with AMX, 2 threads: 3x3, 512 to 512 channels at
    5x5 pixels 7.1 ms for 10.7, in bfloat16 1.6 for 2.4; at 2x2 3.0 for 11.5 and 0.9 for 3.9. On
    larger windows they are as fast in float32, where no window need be gathered for them, and half
    as fast in bfloat16. 1x1 (``--kernel 1``), 38 windows, 512 to 2048 channels: at 4x4 3.7 ms for
    4.6, in bfloat16 0.85 for 0.99; at 8x8 15.0 for 14.4 and 3.8 for 2.4. At stride 2, 21 windows,
    1024 to 2048 channels from 10x6 pixels to 5x3 3.8 ms for 6.4, in bfloat16 0.9 for 1.5.

    Args:
        side: Outputs a side; of a 3x3 one at stride 1.
        kernel: Height and width.
    """
    return min(side) <= (FEW - 1 if tuple(kernel) == (1, 1) else FEW)


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
        self._packed: dict[int, Tensor] = {}

    def packed(self, squares: int = 0) -> Tensor:
        """The weight of taps; or of the products of squares, so many output channels a panel."""
        if squares not in self._packed:
            made = pack_squares(self.weight, squares) if squares else pack_panels(self.weight)
            self._packed[squares] = made
        return self._packed[squares]

    def _panel(self, side: tuple[int, int], stride, dilation) -> int:
        """Of the weight that serves for windows of that many outputs a side."""
        if not squares_pay(side, self.weight, stride, dilation):
            return 0
        return (tuple(dilation) == (1, 1) and lanes(side[1], self.outputs)) or PANEL

    def windows(
        self, x: Tensor | Windows, stride, dilation, epilogue: Epilogue, residual: Tensor | None
    ) -> Tensor:
        """See `_packed_windows`; whole windows (n, Cin, H, W), or where they lie."""
        blocks, store, index, places, halo = (
            x if isinstance(x, Windows) else (x, None, None, None, _NO_HALO)
        )
        relu, rest = _split(epilogue)
        size = blocks.shape[2] + halo[0] + halo[1], blocks.shape[3] + halo[2] + halo[3]
        panel = self._panel(output_side(size, self.kernel, dilation), stride, dilation)
        out = packed_windows(
            blocks, store, index, places, halo, self.packed(panel), self.outputs, self.kernel,
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
