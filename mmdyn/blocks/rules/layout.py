"""Axes in another order: channels last for a linear layer or layer norm, tokens, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from mmdyn.blocks.dispatch import LAYOUT_RULES, RULES, implements
from mmdyn.blocks.laid_out import NCHW, LaidOutBlocks, lay_out, sizes_of
from mmdyn.blocks.rules import elementwise, shape
from mmdyn.blocks.tensor import BlockTensor, Refusal

T = torch.Tensor
Blocks = BlockTensor | LaidOutBlocks


def laid_out(*functions):
    """Registers a rule for maps in another order of axes; it is called with the function first."""

    def register(rule):
        for function in functions:
            LAYOUT_RULES[function] = rule
        return rule

    return register


def _parts(x: Blocks) -> tuple[BlockTensor, tuple[str, ...]]:
    return (x, NCHW) if isinstance(x, BlockTensor) else (x.source, x.axes)


def _numbers(args: tuple) -> list[int]:
    return list(args[0]) if len(args) == 1 and isinstance(args[0], Sequence) else list(args)


def _permute(x: Blocks, *dims, **kwargs):
    source, axes = _parts(x)
    return lay_out(source, [axes[d] for d in _numbers(dims or tuple(kwargs.values()))])


def _transpose(x: Blocks, dim0: int, dim1: int):
    source, axes = _parts(x)
    order = list(axes)
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return lay_out(source, order)


def _flatten(x: Blocks, start_dim: int = 0, end_dim: int = -1):
    source, axes = _parts(x)
    start, end = start_dim % len(axes), end_dim % len(axes)
    if start == end:
        return x
    if tuple(axes[start : end + 1]) != ("H", "W"):
        return Refusal("axes other than height and width flattened")
    return lay_out(source, [*axes[:start], "HW", *axes[end + 1 :]])


def _view(x: Blocks, *size, **kwargs):
    """Only to a shape that keeps the axes, flattens height and width, or parts them again."""
    source, axes = _parts(x)
    if not size or isinstance(size[0], torch.dtype):
        return Refusal("a view of another type")
    numbers = _numbers(size)
    if -1 in numbers:
        known = 1
        for n in numbers:
            known *= n if n != -1 else 1
        numbers[numbers.index(-1)] = x.numel() // max(known, 1)
    letters = "".join(axes)
    at = letters.find("HW")
    orders = [tuple(letters)]
    if at >= 0:
        orders.append((*letters[:at], "HW", *letters[at + 2 :]))
    for order in orders:
        if tuple(numbers) == sizes_of(source, order):
            return lay_out(source, order)
    return Refusal("a view that mixes channels and pixels")


for _functions, _rule in (
    ((torch.permute, T.permute), _permute),
    ((torch.transpose, T.transpose, torch.swapaxes, T.swapaxes), _transpose),
    ((torch.flatten, T.flatten), _flatten),
    ((T.view, T.reshape, torch.reshape), _view),
):
    for _function in _functions:
        RULES[_function] = _rule
        LAYOUT_RULES[_function] = lambda func, *args, _rule=_rule, **kwargs: _rule(*args, **kwargs)


def _operand(value, like: LaidOutBlocks):
    """A second operand as the source's rules take it; a Refusal if it cannot be."""
    if isinstance(value, LaidOutBlocks):
        return value.source if value.axes == like.axes else Refusal("maps laid out in two ways")
    if isinstance(value, BlockTensor):
        return Refusal("maps laid out in two ways")
    if not isinstance(value, T) or not value.dim():
        return value
    if value.dim() > len(like.axes):
        return Refusal("an operand of more axes")
    value = value.reshape(*[1] * (len(like.axes) - value.dim()), *value.shape)
    if any(a not in (1, b) for a, b in zip(value.shape, like.shape)):
        return Refusal("an operand of another size")
    value = like.to_nchw(value)
    if tuple(value.shape[2:]) not in ((1, 1), tuple(like.source.shape[2:])):
        return Refusal("an operand that broadcasts along one side")
    return value.expand(-1, like.source.shape[1], -1, -1) if value.shape[1] == 1 else value


def _pointwise(func, *args, **kwargs):
    """Functions of one pixel do not mind the order of axes."""
    like = next((a for a in args if isinstance(a, LaidOutBlocks)), None)
    if like is None:
        return Refusal("blocks among the keywords")
    operands = [_operand(a, like) for a in args]
    refused = next((o for o in operands if type(o) is Refusal), None)
    if refused is not None:
        return refused
    out = RULES[func](*operands, **kwargs)
    if type(out) is Refusal or not isinstance(out, BlockTensor):
        return out
    return args[0] if out is operands[0] and args[0] is like else lay_out(out, like.axes)


for _function in (*elementwise.POINTWISE, T.to, T.contiguous):
    LAYOUT_RULES[_function] = _pointwise


def _metadata(func, *args, **kwargs):
    with torch._C.DisableTorchFunctionSubclass():
        return func(*args, **kwargs)


for _function in shape.METADATA:
    LAYOUT_RULES[_function] = _metadata


@laid_out(T.is_contiguous)
def _is_contiguous(func, x, memory_format=torch.contiguous_format):
    return True


@laid_out(T.requires_grad.__get__)
def _requires_grad(func, x):
    return RULES[func](x.source)


def _channels_last(x: LaidOutBlocks, func):
    """Applies a function of the last axis to each pixel's channels."""
    if x.axes[-1] != "C":
        return Refusal("not over the channels")
    out = x.source.map(lambda v: func(v.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    return lay_out(out, x.axes)


@laid_out(F.linear)
def _linear(func, input, weight, bias=None):
    if not isinstance(input, LaidOutBlocks):
        return Refusal("a linear layer whose weight is a feature map")
    return _channels_last(input, lambda v: F.linear(v, weight, bias))


@laid_out(F.layer_norm)
def _layer_norm(func, input, normalized_shape, weight=None, bias=None, eps=1e-5):
    if tuple(normalized_shape) != (input.shape[-1],):
        return Refusal("not over the channels")
    return _channels_last(
        input, lambda v: F.layer_norm(v, tuple(normalized_shape), weight, bias, eps)
    )


@laid_out(torch.cat, torch.concat)
def _cat(func, tensors, dim: int = 0, **kwargs):
    tensors = list(tensors)
    first = tensors[0]
    if any(not isinstance(t, LaidOutBlocks) or t.axes != first.axes for t in tensors):
        return Refusal("maps laid out in two ways")
    if first.axes[dim] != "C":
        return Refusal("not along the channels")
    out = RULES[torch.cat]([t.source for t in tensors], 1)
    return out if type(out) is Refusal else lay_out(out, first.axes)


@laid_out(torch.chunk, T.chunk, torch.split, T.split)
def _pieces(func, x, size, dim: int = 0):
    if not isinstance(x, LaidOutBlocks) or x.axes[dim] != "C":
        return Refusal("not along the channels")
    pieces = RULES[func](x.source, size, 1)
    return type(pieces)(lay_out(piece, x.axes) for piece in pieces)


@implements(F.linear)
def linear(input, weight, bias=None):
    return Refusal("a linear layer along the image's width")
