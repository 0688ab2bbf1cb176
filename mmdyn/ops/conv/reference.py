"""A convolution with its epilogue, in plain PyTorch: what faster paths are held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.ops.windows.reference import gather_windows


@dataclass(frozen=True)
class Epilogue:
    """What happens to a convolution's output before it is stored.

    Attributes:
        activation: Name in `ACTIVATIONS`, or None.
        scalars: The activation's numbers (slope, or minimum and maximum).
    """

    activation: str | None = None
    scalars: tuple[float, ...] = ()

    def __call__(self, out: Tensor, residual: Tensor | None) -> Tensor:
        """Adds the residual and activates, in place: `out` belongs to the caller alone."""
        if residual is not None:
            out = out.add_(residual)
        return ACTIVATIONS[self.activation](out, *self.scalars) if self.activation else out


ACTIVATIONS = {
    "relu": torch.relu_,
    "leaky_relu": F.leaky_relu_,
    "hardtanh": F.hardtanh_,
    "swish": lambda x: F.silu(x, inplace=True),
    "hardswish": lambda x: F.hardswish(x, inplace=True),
    "sigmoid": torch.sigmoid_,
}


class Windows(NamedTuple):
    """Blocks and where their halo lies: what ``gather_windows`` takes, `rows` being its index."""

    blocks: Tensor
    store: Tensor
    rows: Tensor
    places: Tensor
    halo: tuple[int, int, int, int]

    @property
    def shape(self) -> torch.Size:
        return self.blocks.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.blocks.dtype


def fold_norm(weight: Tensor, bias: Tensor | None, norm: tuple) -> tuple[Tensor, Tensor]:
    """Folds an evaluation-mode batch norm into the convolution before it.

    Args:
        weight: (Cout, Cin / groups, kh, kw).
        bias: (Cout,) or None.
        norm: running_mean, running_var, weight or None, bias or None, eps.

    Returns:
        The weight and bias of one convolution that does both.
    """
    mean, var, gamma, beta, eps = norm
    wide = torch.promote_types(weight.dtype, torch.float32)
    scale = torch.rsqrt(var.to(wide) + eps)
    if gamma is not None:
        scale = scale * gamma.to(wide)
    shift = -mean.to(wide) if bias is None else bias.to(wide) - mean.to(wide)
    shift = shift * scale
    if beta is not None:
        shift = shift + beta.to(wide)
    folded = weight.to(wide) * scale.view(-1, 1, 1, 1)
    return folded.to(weight.dtype), shift.to(weight.dtype)


def conv_windows(
    blocks: Tensor, store: Tensor, index: Tensor, places: Tensor, halo: Sequence[int],
    weight: Tensor, bias: Tensor | None, stride: Sequence[int], dilation: Sequence[int],
    groups: int, activation: str, scalars: Sequence[float], residual: Tensor | None,
) -> Tensor:  # fmt: skip
    """A convolution over blocks whose halos lie in a ring store.

    Args:
        blocks, store, index, places, halo: As in ``ops.windows.gather_windows``; `index` is (n, L).
        weight: (kh, kw, Cin / groups, Cout).
        bias: (Cout,) or None.
        stride, dilation, groups: As in ``torch.nn.functional.conv2d``.
        activation: Name in `ACTIVATIONS`, or an empty one.
        scalars: The activation's numbers.
        residual: (n, Cout, Hout, Wout) added before the activation, or None.

    Returns:
        (n, Cout, Hout, Wout), channels-last.
    """
    windows = gather_windows(blocks, store, index, places, halo)
    kernel = weight.permute(3, 2, 0, 1)
    out = F.conv2d(windows, kernel, bias, list(stride), 0, list(dilation), groups)
    out = Epilogue(activation or None, tuple(scalars))(out, residual)
    return out.contiguous(memory_format=torch.channels_last)


def conv_taps(
    store: Tensor, index: Tensor, weight: Tensor, bias: Tensor | None, depthwise: bool,
    activation: str = "", scalars: Sequence[float] = (), residual: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """A convolution as gathered taps and matrix products: no padded copy of wide halos.

    Args:
        store: (rows, Cin) ring store that holds whole blocks.
        index: (M, k) int64 rows of the store under each of the k kernel taps.
        weight: (k, Cin, Cout), or (k, C) for a depthwise convolution.
        bias: (Cout,) or None.
        depthwise: Each channel convolved with its own kernel.
        activation: Name in `ACTIVATIONS`, or an empty one.
        scalars: The activation's numbers.
        residual: (M, Cout) added before the activation, or None.

    Returns:
        (M, Cout).
    """
    count, taps = index.shape
    rows = store.index_select(0, index.reshape(-1)).view(count, taps, store.shape[1])
    out = (rows * weight).sum(1) if depthwise else rows.flatten(1) @ weight.flatten(0, 1)
    out = out if bias is None else out + bias
    return Epilogue(activation or None, tuple(scalars))(out, residual)


def depthwise_taps(
    store: Tensor, index: Tensor, weight: Tensor, bias: Tensor | None, relu: bool
) -> Tensor:
    """`conv_taps` of a depthwise convolution, one tap after the other.

    Args:
        store: (rows, C) ring store that holds whole blocks.
        index: (M, k) int64 rows of the store under each of the k kernel taps.
        weight: (k, C).
        bias: (C,) or None.
        relu: Negative sums become 0.

    Returns:
        (M, C).
    """
    shape = (index.shape[0], store.shape[1])
    out = store.new_zeros(shape) if bias is None else bias.repeat(shape[0], 1)
    for tap in range(index.shape[1]):
        out.addcmul_(store.index_select(0, index[:, tap]), weight[tap])
    return out.relu_() if relu else out
