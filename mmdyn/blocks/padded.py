"""A block tensor with padding not yet made: the next convolution or pool takes it as halo."""

from __future__ import annotations

import weakref

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.blocks.dispatch import RULES, run_dense


class PaddedBlockTensor(torch.Tensor):
    """``F.pad`` of a BlockTensor. Its shape is the padded image's; no block is copied.

    Args:
        unpadded: The blocks.
        pad: A ``rules.spatial.Padding``: halo (top, bottom, left, right), mode, value.
    """

    @staticmethod
    def __new__(cls, unpadded, pad):
        n, c, h, w = unpadded.shape
        top, bottom, left, right = pad.halo
        size = (n, c, h + top + bottom, w + left + right)
        return torch.Tensor._make_wrapper_subclass(
            cls, size, dtype=unpadded.dtype, device=unpadded.device
        )

    def __init__(self, unpadded, pad) -> None:
        # A second name for the blocks: what is written into the first one later is not padded.
        deferred = unpadded.deferred
        self.unpadded = unpadded.like(deferred or unpadded.packed)
        self.pad, self.frame = pad, unpadded.frame
        if deferred is not None:
            deferred.add_child(weakref.ref(self))
        else:
            for level in unpadded.packed:
                if level is not None:
                    self.frame.add_reader(level, weakref.ref(self))
        n, c, h, w = unpadded.shape
        top, bottom, left, right = pad.halo
        self._size = torch.Size((n, c, h + top + bottom, w + left + right))

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        rule = RULES.get(func)
        if rule is None or not getattr(rule, "takes_padding", False):
            return run_dense(func, args, kwargs, "explicit padding before it")
        out = rule(*args, **kwargs)
        if hasattr(out, "reason"):
            return run_dense(func, args, kwargs, out.reason)
        return out

    def run(self) -> None:
        """Called before the blocks are written: takes a copy of them."""
        self.unpadded = self.unpadded.map(torch.clone)

    @property
    def shape(self) -> torch.Size:
        return self._size

    def size(self, dim: int | None = None):
        return self._size if dim is None else self._size[dim]

    def dim(self) -> int:
        return 4

    ndim = property(dim)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run_dense(func, args, kwargs or {}, "called below torch's functions")

    def composite(self, op: str = "") -> Tensor:
        """The padded dense frame."""
        top, bottom, left, right = self.pad.halo
        dense = self.unpadded.composite(op)
        value = self.pad.value if self.pad.mode == "constant" else None
        return F.pad(dense, (left, right, top, bottom), self.pad.mode, value)

    def dense(self, contiguous: bool = False, op: str = "") -> Tensor:
        """The padded dense frame, a copy of one's own."""
        dense = self.composite(op)
        return dense.contiguous() if contiguous else dense

    def overwrite(self, dense: Tensor) -> None:
        raise NotImplementedError(
            "an in-place function was called on explicitly padded blocks; call it before F.pad"
        )

    def __repr__(self, *, tensor_contents=None) -> str:
        return f"PaddedBlockTensor({self.unpadded!r}, {self.pad})"
