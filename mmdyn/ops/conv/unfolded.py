"""Convolutions whose windows have few output pixels, as one matrix product of unfolded windows.

With two pixels in a row oneDNN's convolution fills half of its registers and less.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmdyn.ops.conv.linear import PackedLinear
from mmdyn.ops.conv.reference import Epilogue

_FEW = 2  # output pixels of a side


def output_size(size, kernel, stride, dilation) -> tuple[int, ...]:
    """Height and width of a convolution without padding."""
    return tuple(
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(size, kernel, stride, dilation)
    )


def unfolding_pays(size, weight: Tensor, stride, dilation, groups: int) -> bool:
    """Whether windows (height, width) are better unfolded; measured on two CPUs."""
    kernel = weight.shape[2:]
    few = min(output_size(size, kernel, stride, dilation)) <= _FEW
    return few and groups == 1 and kernel[0] * kernel[1] > 1 and weight.shape[1] >= 32


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
        n, channels, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, channels)
        rows = pixels.index_select(1, self.places).view(n * self.out[0] * self.out[1], -1)
        if residual is not None:
            residual = residual.permute(0, 2, 3, 1).reshape(rows.shape[0], -1)
        out = self.linear(rows, epilogue, residual)
        return out.view(n, *self.out, -1).permute(0, 3, 1, 2)
