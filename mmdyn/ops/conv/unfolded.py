"""Convolutions whose windows have few output pixels, as matrix products of unfolded windows.

With four pixels in a row oneDNN's convolution fills half of its registers and less. With weights
that no cache holds it reads them anew for every window.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmdyn.ops.conv.linear import PackedLinear
from mmdyn.ops.conv.reference import Epilogue

_FEW = 4  # output pixels of a side
_HEAVY = 8_000_000  # numbers of a weight, in float32
_SMALL = 144  # output pixels of a window that a heavy weight is too much for
_ROWS = {torch.float32: 512}  # unfolded at once, so that they stay in the cache
_ROWS_ELSE = 256


def output_size(size, kernel, stride, dilation) -> tuple[int, ...]:
    """Height and width of a convolution without padding."""
    return tuple(
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(size, kernel, stride, dilation)
    )


def unfolding_pays(size, weight: Tensor, stride, dilation, groups: int) -> bool:
    """Whether windows (height, width) are better unfolded.

    Measured by tools/benchmark_convs.py on a Xeon with AMX, 2 threads: 512 to 512 channels at
    4x4 pixels 9.8 ms for 13.9, in bfloat16 2.4 for 3.6; 2560 to 512 at 8x8 197 ms for 315, in
    bfloat16 no difference.
    """
    kernel = weight.shape[2:]
    height, width = output_size(size, kernel, stride, dilation)
    few = min(height, width) <= _FEW
    heavy = weight.dtype == torch.float32 and weight.numel() >= _HEAVY and height * width <= _SMALL
    one = groups == 1 and kernel[0] * kernel[1] > 1 and weight.shape[1] >= 32
    return one and (few or heavy)


class UnfoldedConv:
    """A convolution without padding of windows of one size.

    Args:
        weight: (Cout, Cin, kh, kw).
        bias: (Cout,) or None.
        stride, dilation: Pairs.
        size: Height and width of the windows.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, stride, dilation, size) -> None:
        kernel = weight.shape[2:]
        self.out = output_size(size, kernel, stride, dilation)
        rows, columns = (
            torch.arange(self.out[i])[:, None] * stride[i] + torch.arange(kernel[i]) * dilation[i]
            for i in (0, 1)
        )
        places = rows[:, None, :, None] * size[1] + columns[None, :, None, :]
        self.places = places.flatten().to(weight.device)  # (oh * ow * kh * kw,)
        self.linear = PackedLinear(weight.permute(2, 3, 1, 0).flatten(0, 2), bias)

    def __call__(self, x: Tensor, epilogue: Epilogue, residual: Tensor | None) -> Tensor:
        """See ``PackedConv``."""
        n, pixels = x.shape[0], self.out[0] * self.out[1]
        step = max(1, _ROWS.get(x.dtype, _ROWS_ELSE) // pixels)
        parts = [
            self._product(
                x[i : i + step], epilogue, None if residual is None else residual[i : i + step]
            )
            for i in range(0, n, step)
        ]
        out = parts[0] if len(parts) == 1 else torch.cat(parts)
        return out.view(n, *self.out, -1).permute(0, 3, 1, 2)

    def _product(self, x: Tensor, epilogue: Epilogue, residual: Tensor | None) -> Tensor:
        """(n * pixels, Cout) of some windows."""
        n, channels, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, channels)
        rows = pixels.index_select(1, self.places).view(n * self.out[0] * self.out[1], -1)
        if residual is not None:
            residual = residual.permute(0, 2, 3, 1).reshape(rows.shape[0], -1)
        return self.linear(rows, epilogue, residual)
