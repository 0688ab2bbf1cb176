"""Matrix products with their epilogue, and the convolution whose taps are gathered rows.

On AMD processors it is more than twice as fast as ``torch.addmm``, whose MKL takes another path
there. Like the convolution it is probed once, and a failure falls back to `addmm`.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from mmdyn.ops.conv import reference
from mmdyn.ops.conv.in_place import conv_taps, reads_in_place
from mmdyn.ops.conv.packed import PackedPanels, tiles_serve
from mmdyn.ops.conv.reference import Epilogue
from mmdyn.ops.library import define, undisturbed

_FUSED_DTYPES = (torch.float32, torch.bfloat16)
_PLAIN = Epilogue()
_GATHERED = 1 << 21  # numbers gathered at once: they stay in the cache until they are multiplied

depthwise_taps = define(
    "depthwise_taps(Tensor store, Tensor index, Tensor weight, Tensor? bias, bool relu) -> Tensor",
    reference.depthwise_taps,
)


@lru_cache(maxsize=8)
def fused_linear_works(dtype: torch.dtype) -> bool:
    """Whether oneDNN's fused matrix product runs here and agrees with `addmm`."""
    if dtype not in _FUSED_DTYPES or not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    with undisturbed():
        rows = torch.linspace(-1, 1, 6 * 16, device="cpu").view(6, 16).to(dtype)
        weight = torch.linspace(-1, 1, 16 * 8, device="cpu").view(16, 8).to(dtype)
        try:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.t().contiguous())
            out = torch.ops.mkldnn._linear_pointwise(rows, packed, None, "relu", [], "")
        except (RuntimeError, AttributeError, NotImplementedError):
            return False
        exact = torch.relu(rows.double() @ weight.double())
        return torch.allclose(out.double(), exact, rtol=2e-2, atol=2e-2)


class PackedLinear:
    """A matrix product whose weight is reordered once and whose epilogue is fused.

    Args:
        weight: (K, N).
        bias: (N,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        self._packed: Tensor | None = None
        self._panels: PackedPanels | None = None

    def __call__(
        self, rows: Tensor, epilogue: Epilogue = _PLAIN, residual: Tensor | None = None
    ) -> Tensor:
        """Runs the product.

        Args:
            rows: (M, K).
            epilogue: Activation after the residual.
            residual: (M, N) added before the activation, or None.

        Returns:
            (M, N).
        """
        if rows.dtype == self.weight.dtype == torch.float32 and tiles_serve(rows):
            return self.panels(1).rows(rows, None, epilogue, residual)
        fits = rows.dtype == self.weight.dtype and rows.device.type == "cpu" and rows.shape[0]
        if not fits or not fused_linear_works(rows.dtype):
            out = rows @ self.weight
            out = out if self.bias is None else out.add_(self.bias)
            return epilogue(out, residual)
        if self._packed is None:
            weight = self.weight.t().contiguous()
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        name, scalars = (
            (None, ()) if residual is not None else (epilogue.activation, epilogue.scalars)
        )
        out = torch.ops.mkldnn._linear_pointwise(
            rows, self._packed, self.bias, name or "none", list(scalars), ""
        )
        return out if residual is None else epilogue(out, residual)

    def of_rows(self, store: Tensor, index: Tensor, epilogue: Epilogue = _PLAIN) -> Tensor:
        """Runs the product on some rows of a store, which are read where they lie.

        Args:
            store: (rows, K).
            index: (M,) int64 rows.
            epilogue: Activation.

        Returns:
            (M, N).
        """
        if store.dtype == self.weight.dtype == torch.float32 and tiles_serve(store):
            return self.panels(1).rows(store, index[:, None], epilogue, None)
        return self(store.index_select(0, index), epilogue)

    def panels(self, taps: int) -> PackedPanels:
        """The weight in panels, K being so many taps of the same channels."""
        if self._panels is None:
            by_tap = self.weight.unflatten(0, (taps, 1, -1))
            self._panels = PackedPanels(by_tap.permute(3, 2, 0, 1), self.bias)
        return self._panels


class TapConv:
    """A convolution as gathered taps and matrix products: no padded copy of wide halos.

    Args:
        weight: (Cout, Cin, kh, kw), or (C, 1, kh, kw) for a depthwise convolution.
        bias: (Cout,) or None.
        depthwise: Each channel is convolved with its own kernel.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, depthwise: bool) -> None:
        self.taps, self.bias = weight.shape[2] * weight.shape[3], bias
        self.channels = weight.shape[0]
        self.depthwise = depthwise
        self.kernel = weight.flatten(1).t().contiguous()  # (k, C) of a depthwise convolution
        self.linear = PackedLinear(weight.permute(2, 3, 1, 0).flatten(0, 2), bias)
        self.by_tap = self.linear.weight.view(self.taps, -1, self.channels)

    def __call__(
        self, store: Tensor, index: Tensor, epilogue: Epilogue, residual: Tensor | None
    ) -> Tensor:
        """Runs the convolution.

        Args:
            store: (rows, Cin) ring store that holds whole blocks.
            index: (M, k) int64 rows of the store under each of the k kernel taps.
            epilogue: Activation after the residual.
            residual: (M, Cout) added before the activation, or None.

        Returns:
            (M, Cout).
        """
        if tiles_serve(store) and not self.depthwise and self.kernel.dtype == store.dtype:
            return self.linear.panels(self.taps).rows(store, index, epilogue, residual)
        if reads_in_place(store, self.channels if self.depthwise else 1):
            return conv_taps(
                store, index, self.kernel if self.depthwise else self.by_tap, self.bias,
                self.depthwise, epilogue.activation or "", epilogue.scalars, residual,
            )  # fmt: skip
        if self.depthwise:
            relu = residual is None and epilogue.activation == "relu"
            out = depthwise_taps(store, index, self.kernel, self.bias, relu)
            return out if relu else epilogue(out, residual)
        width = self.taps * store.shape[1]
        count, step = index.shape[0], max(_GATHERED // width, 256)
        flat = index.reshape(-1)
        parts = []
        for first in range(0, max(count, 1), step):
            picked = flat[first * self.taps : (first + step) * self.taps]
            rows = store.index_select(0, picked).view(-1, width)
            other = None if residual is None else residual[first : first + step]
            parts.append(self.linear(rows, epilogue, other))
        return parts[0] if len(parts) == 1 else torch.cat(parts)
