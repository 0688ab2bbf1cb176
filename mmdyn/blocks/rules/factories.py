"""Tensors that take only their type and device from a map: making them reads no pixel."""

from __future__ import annotations

from torch import Tensor as T

from mmdyn.blocks.dispatch import implements
from mmdyn.blocks.recording import recorder
from mmdyn.blocks.tensor import BlockTensor, Refusal


def _made(function):
    def rule(x, *args, **kwargs):
        if not isinstance(x, BlockTensor) or any(isinstance(a, BlockTensor) for a in args):
            return Refusal("a new tensor of a map's values")
        _not_to_be_repeated()
        return function(x.blocks, *args, **kwargs)

    return rule


for _function in (T.new_zeros, T.new_ones, T.new_empty, T.new_full, T.new_tensor):
    implements(_function)(_made(_function))


@implements(T.type_as)
def type_as(x, other):
    """Of the other's type and device; a plain tensor stays one."""
    kind = other.blocks if isinstance(other, BlockTensor) else other
    if isinstance(x, BlockTensor):
        return x.map(lambda level: level.type_as(kind))
    _not_to_be_repeated()
    return T.type_as(x, kind)


def _not_to_be_repeated() -> None:
    """What is made may have a size, or be of a tensor, that differs from frame to frame."""
    active = recorder()
    if active is not None:
        active.reason = active.reason or "a plain tensor made beside the map"
