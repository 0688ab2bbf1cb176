"""Convolutions that wait for their epilogue.

A network calls ``conv``, ``norm``, ``relu``, ``add`` in turn; run apart, each passes over memory.
A `Deferred` is a convolution that has gathered its input and not run yet. A rule for what follows
folds it in; the first function that needs the pixels runs it, fused.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.blocks.frame import Frame
from mmdyn.ops.conv import Epilogue, PackedConv, TapConv, Windows, fold_norm

Packed = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class ConvSpec:
    """The convolution as the network called it; `key` names the place.

    `taps` is None, or the geometry (n, out_h, out_w) of a tap-gathered one, whose inputs are
    the ring store and the tap index.
    """

    key: str
    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    dtype: torch.dtype
    taps: tuple[int, int, int] | None = None


class Deferred:
    """A convolution over windows, gathered or not, with what has been folded into it so far."""

    def __init__(self, frame: Frame, spec: ConvSpec, inputs: tuple, parent: Deferred | None):
        self.frame, self.spec, self.inputs, self.parent = frame, spec, inputs, parent
        self.norm: tuple | None = None
        self.residual: Packed | None = None
        self.epilogue = Epilogue()
        self.channels = spec.weight.shape[0]
        self.dtype, self.device = spec.dtype, spec.weight.device
        self.result: Packed | None = None
        self._children: list[weakref.ref] = []

    def _child(self) -> Deferred:
        child = Deferred(self.frame, self.spec, self.inputs, self)
        child.norm, child.residual, child.epilogue = self.norm, self.residual, self.epilogue
        self.add_child(child.reference())
        return child

    def add_child(self, child: weakref.ref) -> None:
        """Remembers what will read this result when it runs."""
        self._children.append(child)

    @property
    def open(self) -> bool:
        """Whether something can still be folded in."""
        return self.result is None and self.spec.key not in self.frame.constants.eager

    def with_norm(self, norm: tuple) -> Deferred | None:
        """Batch norm after the convolution; None if something came between."""
        if not self.open or self.norm or self.residual or self.epilogue.activation:
            return None
        child = self._child()
        child.norm = norm
        return child

    def with_activation(self, name: str, scalars: tuple[float, ...] = ()) -> Deferred | None:
        if not self.open or self.epilogue.activation:
            return None
        child = self._child()
        child.epilogue = Epilogue(name, scalars)
        return child

    def with_residual(self, packed: Packed) -> Deferred | None:
        if not self.open or self.residual or self.epilogue.activation:
            return None
        if packed[0].dtype != self.dtype:
            return None
        child = self._child()
        child.residual = packed
        return child

    def reference(self) -> weakref.ref:
        """What the data's owner keeps, to let this run before the data are written."""
        return weakref.ref(self)

    def run(self) -> Packed:
        """Computes the blocks, once."""
        if self.result is None:
            ancestor = self.parent
            while ancestor is not None and ancestor.result is None:
                ancestor = ancestor.parent
            self.result = self._fused() if ancestor is None else self._finish(ancestor)
            self.parent = None
            self._tell_children(self.result)
        return self.result

    def _tell_children(self, result: Packed) -> None:
        """What was made of this result and has not run yet reads it when it does."""
        for level in result:
            for child in self._children:
                if level is not None:
                    self.frame.add_reader(level, child)
        self._children = []

    def _fused(self) -> Packed:
        conv = self._folded()
        residual = self.residual or (None, None)
        if self.spec.taps is not None:
            store, index = self.inputs
            return self._run_taps(conv, store, index, residual[0]), None
        blocks, halves = self.inputs
        out = conv(blocks, self.epilogue, residual[0])
        return out, None if halves is None else conv(halves, self.epilogue, residual[1])

    def _finish(self, ancestor: Deferred) -> Packed:
        """The rest of the epilogue on a result that was needed before: not fused from here on."""
        self.frame.constants.eager.add(self.spec.key)
        out: list = []
        for level, done in enumerate(ancestor.run()):
            if done is None:
                out.append(None)
                continue
            if self.norm and not ancestor.norm:
                mean, var, gamma, beta, eps = self.norm
                done = F.batch_norm(done, mean, var, gamma, beta, False, 0.0, eps)
            else:
                done = done.clone()
            residual = None
            if self.residual and not ancestor.residual:
                residual = self.residual[level]
            epilogue = Epilogue() if ancestor.epilogue.activation else self.epilogue
            out.append(epilogue(done, residual))
        return out[0], out[1]

    def _folded(self) -> Callable:
        spec = self.spec
        what = (spec.dtype, spec.taps is None, spec.stride, spec.dilation, spec.groups)
        sources = (spec.weight, spec.bias, *(self.norm or ()))
        return self.frame.constants.kept(what, sources, self._build)

    def _run_taps(self, conv: Callable, store, index, residual: Tensor | None) -> Tensor:
        assert self.spec.taps is not None
        n, height, width = self.spec.taps
        if residual is not None:
            residual = residual.permute(0, 2, 3, 1).reshape(-1, self.channels)
        rows = conv(store, index, self.epilogue, residual)
        return rows.view(n, height, width, self.channels).permute(0, 3, 1, 2)

    def _build(self):
        spec = self.spec
        weight, bias = spec.weight.detach(), None if spec.bias is None else spec.bias.detach()
        if self.norm:
            weight, bias = fold_norm(weight, bias, self.norm)
        weight = weight.to(spec.dtype)
        bias = None if bias is None else bias.to(spec.dtype)
        if spec.taps is None:
            return PackedConv(weight, bias, spec.stride, spec.dilation, spec.groups)
        return TapConv(weight, bias, depthwise=spec.groups > 1)


def defer(frame: Frame, spec: ConvSpec, inputs: tuple, aliased: bool) -> Deferred:
    """A new deferred convolution; `aliased`: its inputs are somebody's blocks, not a copy."""
    deferred = Deferred(frame, spec, inputs, None)
    if aliased:
        for level in inputs:
            if level is not None:
                data = level.blocks if isinstance(level, Windows) else level
                frame.add_reader(data, deferred.reference())
    return deferred
