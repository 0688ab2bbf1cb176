"""Pointwise functions taken into the epilogue of the convolution before them."""

from __future__ import annotations

from mmdyn.blocks.tensor import BlockTensor


def activate(x: BlockTensor, func, name: str | None, scalars: tuple, in_place: bool):
    """An activation: folded into the convolution before it, in place, or a new tensor."""
    if name and x.deferred is not None:
        folded = x.deferred.with_activation(name, scalars)
        if folded is not None:
            if not in_place:
                return x.like(folded)
            x.deferred = folded
            return x
    return x.write(func) if in_place else x.map(func)


def same_place(a: BlockTensor, b: BlockTensor) -> bool:
    return a.frame is b.frame and a.block == b.block


def fold_residual(x: BlockTensor, other, into: BlockTensor | None) -> BlockTensor | None:
    """Adds `other` in the epilogue of the convolution that makes `x`; None if it cannot be."""
    if x.deferred is None or not isinstance(other, BlockTensor) or not same_place(x, other):
        return None
    if other.shape != x.shape or other is x:
        return None
    folded = x.deferred.with_residual(other.packed)
    if folded is None:
        return None
    for level in other.packed:
        if level is not None:
            x.frame.add_reader(level, folded.reference())
    if into is None:
        return x.like(folded)
    into.deferred = folded
    return into


def gated_by_itself(a, b) -> BlockTensor | None:
    """``x * sigmoid(x)`` on a convolution that has not run: its swish, in the epilogue."""
    for x, gate in ((a, b), (b, a)):
        if not isinstance(x, BlockTensor) or not isinstance(gate, BlockTensor):
            return None
        made = gate.deferred
        if made is None or x.deferred is None or made.parent is not x.deferred:
            continue
        if made.epilogue.activation == "sigmoid" and not x.deferred.epilogue.activation:
            folded = x.deferred.with_activation("swish")
            return None if folded is None else x.like(folded)
    return None
