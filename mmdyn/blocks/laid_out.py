"""Blocks seen in another order of axes, such as channels last or tokens; nothing moves."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from mmdyn.blocks.dispatch import LAYOUT_RULES, run_dense
from mmdyn.blocks.tensor import BlockTensor, Refusal

NCHW = ("N", "C", "H", "W")


def sizes_of(source: BlockTensor, axes: Sequence[str]) -> tuple[int, ...]:
    """The shape that a map has with these axes; 'HW' is both of them, flattened."""
    by_name = dict(zip(NCHW, source.shape))
    return tuple(prod(by_name[letter] for letter in axis) for axis in axes)


def lay_out(source: BlockTensor, axes: Sequence[str]) -> BlockTensor | LaidOutBlocks:
    """The map with these axes: itself where they are its own."""
    return source if tuple(axes) == NCHW else LaidOutBlocks(source, tuple(axes))


class LaidOutBlocks(torch.Tensor):
    """A BlockTensor whose axes are permuted, height and width possibly flattened into one.

    Args:
        source: The blocks; what is written to one shows in the other.
        axes: Names of its axes in order, from 'N', 'C', 'H', 'W' and 'HW'.
    """

    @staticmethod
    def __new__(cls, source: BlockTensor, axes: tuple[str, ...]):
        return torch.Tensor._make_wrapper_subclass(
            cls, sizes_of(source, axes), dtype=source.dtype, device=source.device
        )

    def __init__(self, source: BlockTensor, axes: tuple[str, ...]) -> None:
        self.source, self.axes, self.frame = source, axes, source.frame
        self._size = torch.Size(sizes_of(source, axes))

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        rule = LAYOUT_RULES.get(func)
        if rule is None or kwargs.get("out") is not None:
            return run_dense(func, args, kwargs, "no rule for blocks laid out as tokens")
        out = rule(func, *args, **kwargs)
        return run_dense(func, args, kwargs, out.reason) if type(out) is Refusal else out

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run_dense(func, args, kwargs or {}, "called below torch's functions")

    @property
    def shape(self) -> torch.Size:
        return self._size

    def size(self, dim: int | None = None):
        return self._size if dim is None else self._size[dim]

    def dim(self) -> int:
        return len(self.axes)

    ndim = property(dim)

    def _from_nchw(self, dense: Tensor) -> Tensor:
        letters = "".join(self.axes)
        dense = dense.permute([NCHW.index(letter) for letter in letters])
        at = letters.find("HW")
        return dense if "HW" not in self.axes else dense.flatten(at, at + 1)

    def to_nchw(self, dense: Tensor) -> Tensor:
        """A dense tensor of these axes, any of them of size 1, as (N, C, H, W)."""
        letters = "".join(self.axes)
        if "HW" in self.axes:
            at = self.axes.index("HW")
            sides = self.source.shape[2:] if dense.shape[at] != 1 else (1, 1)
            dense = dense.unflatten(at, tuple(sides))
        return dense.permute([letters.index(letter) for letter in NCHW])

    def composite(self, op: str = "") -> Tensor:
        """The dense frame; read only, it may be a view of the memory."""
        return self._from_nchw(self.source.composite(op))

    def dense(self, contiguous: bool = False, op: str = "") -> Tensor:
        """The dense frame, a copy of one's own; with channels last, that is how its memory lies."""
        return self._from_nchw(self.source.dense(contiguous and self.axes[-1] != "C", op))

    def overwrite(self, dense: Tensor) -> None:
        """Replaces the blocks' contents by those of a dense tensor of the same shape."""
        self.source.overwrite(self.to_nchw(dense))

    def tie(self, dense: Tensor) -> None:
        """See `BlockTensor.tie`."""
        self.source.tie(self.to_nchw(dense))

    def __repr__(self, *, tensor_contents=None) -> str:
        return f"LaidOutBlocks({self.source!r}, {self.axes})"
