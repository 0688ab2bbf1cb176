"""Functions of one pixel: applied to the packed blocks, in place where the caller asked for it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.blocks.dispatch import RULES, implements
from mmdyn.blocks.grid import Level
from mmdyn.blocks.padded import PaddedBlockTensor
from mmdyn.blocks.rules.folding import activate, fold_residual, gated_by_itself, same_place
from mmdyn.blocks.tensor import BlockTensor, Refusal, split

T = torch.Tensor

_UNARY = [
    torch.tanh, T.tanh, torch.exp, T.exp, torch.log, T.log,
    torch.sqrt, T.sqrt, torch.rsqrt, T.rsqrt, torch.abs, T.abs, torch.neg, T.neg, T.__neg__,
    torch.reciprocal, T.reciprocal, torch.square, T.square, torch.erf, T.erf, torch.sin, torch.cos,
    torch.clamp, T.clamp, torch.floor, T.floor, torch.ceil, T.ceil, torch.round, T.round,
    torch.sign, T.sign, torch.log1p, T.log1p, torch.expm1, T.expm1, torch.atan, T.atan,
    torch.isnan, T.isnan, torch.isfinite, torch.nan_to_num, T.nan_to_num,
    T.__pow__, T.pow, torch.pow, F.gelu, F.softplus, F.logsigmoid, F.softsign, F.tanhshrink,
    F.tanh, T.clone, torch.clone, T.detach, T.float, T.half, T.bfloat16, T.double,
    T.__invert__, torch.logical_not, torch.zeros_like, torch.ones_like, torch.full_like,
    torch.empty_like,
]  # fmt: skip

_UNARY_IN_PLACE = [
    T.sigmoid_, torch.sigmoid_, T.tanh_, torch.tanh_, T.exp_, T.sqrt_, T.abs_, T.neg_, T.clamp_,
    T.square_, T.pow_, T.zero_, T.fill_, T.log_, T.reciprocal_, T.clamp_min_, T.clamp_max_,
]  # fmt: skip

# (function, name that oneDNN's epilogue knows it by, or None)
_ACTIVATIONS = [
    (F.relu6, None), (F.silu, "swish"), (F.hardswish, "hardswish"), (F.hardsigmoid, None),
    (F.elu, None), (F.selu, None), (F.celu, None), (F.mish, None), (F.threshold, None),
]  # fmt: skip

_BINARY = [
    torch.add, T.add, T.__add__, T.__radd__, torch.sub, T.sub, T.__sub__, T.__rsub__, torch.mul,
    T.mul, T.__mul__, T.__rmul__, torch.div, T.div, T.__truediv__, T.__rtruediv__, torch.maximum,
    torch.minimum, T.maximum, T.minimum, torch.true_divide, T.true_divide, T.__rpow__, T.__gt__,
    T.__lt__, T.__ge__, T.__le__, T.__eq__, T.__ne__, T.gt, T.lt, T.ge, T.le, torch.eq, T.eq,
    T.__and__, T.__or__, torch.logical_and, torch.logical_or, torch.where, T.where, torch.lerp,
    torch.addcmul, torch.rsub, T.masked_fill, torch.masked_fill, torch.ge, torch.gt, torch.le,
    torch.lt, T.ne, torch.ne,
]  # fmt: skip

_BINARY_IN_PLACE = [
    T.add_, T.__iadd__, T.sub_, T.__isub__, T.mul_, T.__imul__, T.div_, T.__itruediv__,
    T.masked_fill_, T.copy_, T.lerp_,
]  # fmt: skip


def _unary(func):
    def rule(x, *args, **kwargs):
        operands = (*args, *kwargs.values())
        if not isinstance(x, BlockTensor) or any(isinstance(a, T) for a in operands):
            return _pointwise(func, (x, *args), kwargs)
        return x.map(lambda level: func(level, *args, **kwargs))

    return rule


def _unary_in_place(func):
    with_operands = _binary_in_place(func)

    def rule(x, *args, **kwargs):
        if any(isinstance(a, T) for a in (*args, *kwargs.values())):
            return with_operands(x, *args, **kwargs)
        return x.write(lambda level: func(level, *args, **kwargs))

    return rule


def _activation(func, name: str | None):
    def rule(input, *args, inplace: bool = False, **kwargs):
        return activate(
            input, lambda v: func(v, *args, inplace=inplace, **kwargs), name, (), inplace
        )

    return rule


@implements(F.relu, torch.relu, T.relu)
def relu(input, inplace: bool = False):
    return activate(input, torch.relu_ if inplace else torch.relu, "relu", (), inplace)


@implements(torch.relu_, T.relu_, F.relu_)
def relu_(input):
    return activate(input, torch.relu_, "relu", (), True)


@implements(torch.sigmoid, T.sigmoid, F.sigmoid)
def sigmoid(input):
    return activate(input, torch.sigmoid, "sigmoid", (), False)


@implements(F.leaky_relu)
def leaky_relu(input, negative_slope: float = 0.01, inplace: bool = False):
    def func(level: Tensor) -> Tensor:
        return F.leaky_relu(level, negative_slope, inplace)

    return activate(input, func, "leaky_relu", (negative_slope,), inplace)


@implements(F.hardtanh)
def hardtanh(input, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False):
    def func(level: Tensor) -> Tensor:
        return F.hardtanh(level, min_val, max_val, inplace)

    return activate(input, func, "hardtanh", (float(min_val), float(max_val)), inplace)


@implements(F.prelu, torch.prelu)
def prelu(input, weight):
    return input.map(lambda level: F.prelu(level, weight))


class _Operand:
    """How the second operand of a pointwise function meets the packed blocks of the first."""

    def __init__(self, value, x: BlockTensor) -> None:
        self.levels = (value, value)
        if isinstance(value, BlockTensor):
            self.levels = value.packed
        elif isinstance(value, T) and value.dim():
            self.levels = _levels_of(value, x)


def _levels_of(value: Tensor, x: BlockTensor):
    """A dense operand cut to the blocks of each level; None if the rule cannot place it."""
    if value.dim() < 3:
        return (value, value) if value.numel() == 1 else None
    value = value.view(*[1] * (4 - value.dim()), *value.shape) if value.dim() < 4 else value
    spatial = tuple(value.shape[2:])
    grid = x.frame.grid
    if value.shape[0] not in (1, x.shape[0]):
        return None
    if spatial == (1, 1):
        if value.shape[0] == 1:
            return value, value
        return tuple(value[grid.images(level)] for level in (Level.FULL, Level.HALF))
    if spatial != tuple(x.shape[2:]):
        return None
    if value.shape[0] != x.shape[0]:
        value = value.expand(x.shape[0], *value.shape[1:])
    return split(x.frame, value, x.block).packed


def _operands(args: tuple) -> tuple[BlockTensor, list[_Operand]] | str:
    """The first block operand and all operands cut to its blocks, or why that cannot be."""
    x = next(a for a in args if isinstance(a, BlockTensor))
    if any(isinstance(a, BlockTensor) and not same_place(a, x) for a in args):
        return "feature maps of different sizes"
    operands = [_Operand(a, x) for a in args]
    if any(o.levels is None for o in operands):
        return "an operand that neither broadcasts per channel nor has the map's size"
    return x, operands


def _pointwise(func, args: tuple, kwargs: dict):
    if any(isinstance(a, PaddedBlockTensor) for a in (*args, *kwargs.values())):
        return Refusal("explicit padding before it")
    if func in (torch.where, T.where) and len(args) + len(kwargs) == 1:
        return Refusal("positions that depend on pixel values")
    placed = _operands((*args, *kwargs.values()))
    if isinstance(placed, str):
        return Refusal(placed)
    x, operands = placed
    out = [
        None if x.packed[level] is None else _call(func, operands, args, kwargs, level)
        for level in (0, 1)
    ]
    return x.like((out[0], out[1]))


def _call(func, operands: list[_Operand], args: tuple, kwargs: dict, level: int):
    """Calls a function on the operands' blocks of one level, by position and name as it was."""
    values = [o.levels[level] for o in operands]
    return func(*values[: len(args)], **dict(zip(kwargs, values[len(args) :])))


def _binary(func):
    return lambda *args, **kwargs: _pointwise(func, args, kwargs)


def _binary_in_place(func):
    def rule(x, *args, **kwargs):
        if not isinstance(x, BlockTensor):
            return Refusal("blocks written into a dense tensor")
        if func in (T.add_, T.__iadd__) and not kwargs and fold_residual(x, args[0], x) is not None:
            return x
        if any(isinstance(a, PaddedBlockTensor) for a in (*args, *kwargs.values())):
            return Refusal("explicit padding before it")
        placed = _operands((x, *args, *kwargs.values()))
        if isinstance(placed, str):
            return Refusal(placed)
        x.about_to_change()
        for level, mine in enumerate(x.packed):
            if mine is not None:
                _call(func, placed[1], (x, *args), kwargs, level)
        x.changed()
        return x

    return rule


def _add(func):
    def rule(*args, **kwargs):
        a, b = args[:2] if len(args) > 1 else (args[0], None)
        if not kwargs and isinstance(a, BlockTensor) and isinstance(b, BlockTensor):
            for x, other in ((a, b), (b, a)):
                folded = fold_residual(x, other, None)
                if folded is not None:
                    return folded
        return _pointwise(func, args, kwargs)

    return rule


def _mul(func):
    def rule(*args, **kwargs):
        if len(args) == 2 and not kwargs:
            folded = gated_by_itself(*args)
            if folded is not None:
                return folded
        return _pointwise(func, args, kwargs)

    return rule


for _function in _UNARY:
    RULES[_function] = _unary(_function)
for _function in _UNARY_IN_PLACE:
    RULES[_function] = _unary_in_place(_function)
for _function, _name in _ACTIVATIONS:
    RULES[_function] = _activation(_function, _name)
for _function in _BINARY:
    RULES[_function] = _binary(_function)
for _function in _BINARY_IN_PLACE:
    RULES[_function] = _binary_in_place(_function)
for _function in (torch.add, T.add, T.__add__):
    RULES[_function] = _add(_function)

# All of the above: what works on one pixel at a time, wherever its axes lie.
POINTWISE = [
    *_UNARY, *_UNARY_IN_PLACE, *(function for function, _ in _ACTIVATIONS), *_BINARY,
    *_BINARY_IN_PLACE, F.relu, torch.relu, T.relu, torch.relu_, T.relu_, F.relu_, F.leaky_relu,
    F.hardtanh, F.dropout, F.dropout2d, F.alpha_dropout,
]  # fmt: skip
for _function in (torch.mul, T.mul, T.__mul__):
    RULES[_function] = _mul(_function)
