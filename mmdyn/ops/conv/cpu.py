"""The fastest convolution on a CPU behind one class: compiled here, oneDNN's fused one, `F.conv2d`.

`torch.ops.mkldnn` is not public API: it is probed once, and a failure falls back to the reference.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.ops.conv.in_place import conv_windows
from mmdyn.ops.conv.packed import PackedPanels, output_side, squares_pay, tiles_pay, tiles_serve
from mmdyn.ops.conv.reference import Epilogue, Windows
from mmdyn.ops.conv.unfolded import UnfoldedConv, unfolding_pays
from mmdyn.ops.library import is_plain, undisturbed

_FUSED_DTYPES = (torch.float32, torch.bfloat16)
_PLAIN = Epilogue()
_MOST_PACKED = 8  # orders of a weight that are kept
_MOST_SHAPES = 64  # of an input, whose order is known


@lru_cache(maxsize=8)
def fused_conv_works(dtype: torch.dtype) -> bool:
    """Whether oneDNN's fused convolution runs here and agrees with `F.conv2d`."""
    if dtype not in _FUSED_DTYPES or not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    with undisturbed():
        x = torch.linspace(-1, 1, 2 * 8 * 6 * 6, device="cpu").view(2, 8, 6, 6).to(dtype)
        weight = torch.linspace(-1, 1, 8 * 8 * 9, device="cpu").view(8, 8, 3, 3).to(dtype)
        try:
            packed = PackedConv._pack(weight, (1, 1), (1, 1), 1, x.shape)
            out = _run_fused(x, packed, None, (1, 1), (1, 1), 1, Epilogue("relu"), None)
        except (RuntimeError, AttributeError, NotImplementedError):
            return False
        exact = F.relu(F.conv2d(x.double(), weight.double()))
        return torch.allclose(out.double(), exact, rtol=2e-2, atol=2e-2)


def order_of(packed: Tensor) -> bytes | None:
    """How oneDNN laid out a weight; None where PyTorch does not tell."""
    try:
        return torch.ops.mkldnn._get_mkldnn_serialized_md(packed).numpy().tobytes()
    except (RuntimeError, AttributeError):
        return None


def _run_fused(x, packed, bias, stride, dilation, groups, epilogue, residual) -> Tensor:
    name = epilogue.activation or "none"
    if residual is None:
        return torch.ops.mkldnn._convolution_pointwise(
            x, packed, bias, (0, 0), stride, dilation, groups, name, list(epilogue.scalars), ""
        )
    unary = epilogue.activation
    return torch.ops.mkldnn._convolution_pointwise.binary(
        x, residual, packed, bias, (0, 0), stride, dilation, groups,
        "add", 1.0, unary, list(epilogue.scalars), "",
    )  # fmt: skip


class PackedConv:
    """A convolution without padding whose weight is reordered once and whose epilogue is fused.

    Args:
        weight: (Cout, Cin / groups, kh, kw).
        bias: (Cout,) or None.
        stride, dilation, groups: As in ``torch.nn.functional.conv2d``.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, stride, dilation, groups: int) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        self.stride, self.dilation, self.groups = tuple(stride), tuple(dilation), groups
        # By number, height and width: oneDNN orders a weight by these, and takes another order up
        # to eight times as slowly. Most shapes share one order.
        self._packed: dict[tuple[int, ...], Tensor | UnfoldedConv] = {}
        self._orders: dict[Hashable, Tensor | UnfoldedConv] = {}
        self._taps: Tensor | None = None  # (kh, kw, Cin / groups, Cout)
        self._panels: PackedPanels | None = None

    @staticmethod
    def _pack(weight: Tensor, stride, dilation, groups: int, size) -> Tensor:
        weight = weight.contiguous(memory_format=torch.channels_last)
        return torch.ops.mkldnn._reorder_convolution_weight(
            weight, (0, 0), stride, dilation, groups, list(size)
        )

    def __call__(
        self, x: Tensor | Windows, epilogue: Epilogue = _PLAIN, residual: Tensor | None = None
    ) -> Tensor:
        """Runs the convolution.

        Args:
            x: (n, Cin, H, W), channels-last; halo included, or where it lies.
            epilogue: Activation after the residual.
            residual: (n, Cout, Hout, Wout) added before the activation, or None.

        Returns:
            (n, Cout, Hout, Wout), channels-last.
        """
        served = x.dtype == self.weight.dtype and tiles_serve(x, self.groups)
        if served and (isinstance(x, Windows) or self._panels_pay(x.shape[2:])):
            return self._by_panels(x, epilogue, residual)
        if isinstance(x, Windows):
            return self._in_place(x, epilogue, residual)
        if x.device.type == "cpu" and x.shape[0] and self._fusible(x, epilogue, residual):
            packed = self._packed.get((x.shape[0], x.shape[2], x.shape[3]))
            packed = self._packed_for(x) if packed is None else packed
            if isinstance(packed, UnfoldedConv):
                return packed(x, epilogue, residual)
            return _run_fused(
                x, packed, self.bias, self.stride, self.dilation, self.groups, epilogue, residual
            )
        out = F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
        return epilogue(out, residual)

    def _packed_for(self, x: Tensor) -> Tensor | UnfoldedConv:
        number, _, *size = x.shape
        packed: Tensor | UnfoldedConv
        if unfolding_pays(tuple(size), self.weight, self.stride, self.dilation, self.groups):
            how = (self.weight, self.bias, self.stride, self.dilation, tuple(size))
            order: Hashable = tuple(size)
            packed = self._orders.get(order) or UnfoldedConv(*how)
        else:
            packed = self._pack(self.weight, self.stride, self.dilation, self.groups, x.shape)
            order = order_of(packed) or tuple(size)
            packed = self._orders.get(order, packed)
        if len(self._packed) == _MOST_SHAPES or len(self._orders) == _MOST_PACKED:
            self._packed.clear()
            self._orders.clear()
        self._orders[order] = self._packed[(number, size[0], size[1])] = packed
        return packed

    def of_rows(
        self, store: Tensor, index: Tensor, side: tuple[int, int], epilogue: Epilogue = _PLAIN
    ) -> Tensor:
        """Runs it over windows whose pixels are rows of a store, which are read where they lie.

        Args:
            store: (rows, Cin).
            index: (n, H * W) int64 rows.
            side: H and W, halo included.
            epilogue: Activation.

        Returns:
            (n, Cout, Hout, Wout), channels-last.
        """
        served = store.dtype == self.weight.dtype and tiles_serve(store, self.groups)
        if served and self._panels_pay(side):
            blocks = store.new_empty(len(index), store.shape[1], 0, 0)  # all of it is halo
            places = torch.arange(index.numel(), device=index.device)
            windows = Windows(blocks, store, index, places, (side[0], 0, side[1], 0))
            return self._by_panels(windows, epilogue, None)
        picked = store.index_select(0, index.flatten()).view(-1, *side, store.shape[1])
        return self(picked.permute(0, 3, 1, 2), epilogue)

    def _panels_pay(self, size: Sequence[int]) -> bool:
        kernel = tuple(self.weight.shape[2:])
        side = output_side(size, kernel, self.dilation)
        if kernel == (1, 1):  # what a stride leaves out is not read
            side = -(-side[0] // self.stride[0]), -(-side[1] // self.stride[1])
        return tiles_pay(side, kernel) or squares_pay(side, self.weight, self.stride, self.dilation)

    def _by_panels(
        self, x: Tensor | Windows, epilogue: Epilogue, residual: Tensor | None
    ) -> Tensor:
        if self._panels is None:
            self._panels = PackedPanels(self.weight, self.bias)
        return self._panels.windows(x, self.stride, self.dilation, epilogue, residual)

    def _in_place(self, x: Windows, epilogue: Epilogue, residual: Tensor | None) -> Tensor:
        if self._taps is None:
            self._taps = self.weight.permute(2, 3, 1, 0).contiguous()
        return conv_windows(
            *x, self._taps, self.bias, self.stride, self.dilation, self.groups,
            epilogue.activation or "", epilogue.scalars, residual,
        )  # fmt: skip

    def _fusible(self, x: Tensor, epilogue: Epilogue, residual: Tensor | None) -> bool:
        if residual is not None and (
            epilogue.activation not in (None, "relu") or residual.dtype != x.dtype
        ):
            return False
        return x.dtype == self.weight.dtype and is_plain(x) and fused_conv_works(x.dtype)
