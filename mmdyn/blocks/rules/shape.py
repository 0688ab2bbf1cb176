"""Shapes, types, channels: what moves no pixel to another cell."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mmdyn.blocks.dispatch import RULES, implements
from mmdyn.blocks.padded import PaddedBlockTensor
from mmdyn.blocks.rules.elementwise import _levels_of
from mmdyn.blocks.rules.spatial import Padding
from mmdyn.blocks.tensor import BlockTensor, Refusal

T = torch.Tensor

METADATA = [
    T.dtype.__get__, T.device.__get__, T.layout.__get__, T.is_cuda.__get__, T.is_sparse.__get__,
    T.is_quantized.__get__, T.is_mkldnn.__get__, T.is_complex,
    T.is_floating_point, torch.is_floating_point, T.numel, T.nelement, T.__len__, T.is_meta.__get__,
    T.get_device, torch.is_complex, T.element_size, T.itemsize.__get__, T.is_leaf.__get__,
    T.grad.__get__, T.grad_fn.__get__, T.is_inference,
]  # fmt: skip


def _metadata(func):
    def rule(*args, **kwargs):
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    rule.takes_padding = True
    return rule


for _function in METADATA:
    RULES[_function] = _metadata(_function)


@implements(T.requires_grad.__get__)
def requires_grad(x):
    return any(level is not None and level.requires_grad for level in x.packed)


@implements(T.is_contiguous)
def is_contiguous(x, memory_format=torch.contiguous_format):
    return True


@implements(T.contiguous)
def contiguous(x, memory_format=torch.contiguous_format):
    return x


@implements(T.to)
def to(x, *args, **kwargs):
    kwargs.pop("memory_format", None)
    args = tuple(a for a in args if not isinstance(a, torch.memory_format))
    if not args and not kwargs:
        return x
    if args and isinstance(args[0], torch.Tensor):
        args = (args[0].dtype, *args[1:])
    blocks = x.blocks
    moved = blocks.to(*args, **kwargs)
    if moved is blocks:
        return x
    if moved.device != blocks.device:
        return Refusal("moved to another device")
    return x.map(lambda level: level.to(*args, **kwargs))


@implements(torch.cat, torch.concat)
def cat(tensors, dim: int = 0, **kwargs):
    tensors = list(tensors)
    if dim not in (1, -3):
        return Refusal("not along the channels")
    x = next((t for t in tensors if isinstance(t, BlockTensor)), None)
    if x is None:
        return Refusal("explicit padding before it")
    levels = []
    for t in tensors:
        if isinstance(t, BlockTensor):
            if t.block != x.block or t.frame is not x.frame:
                return Refusal("feature maps of different sizes")
            levels.append(t.packed)
        elif isinstance(t, PaddedBlockTensor) or t.shape[2:] != x.shape[2:]:
            return Refusal("a part of another size")
        elif tuple(x.shape[2:]) == (1, 1):
            return Refusal("a map of one pixel")
        else:
            levels.append(_levels_of(t, x))
    out = [
        None if x.packed[i] is None else torch.cat([level[i] for level in levels], 1)
        for i in (0, 1)
    ]
    return x.like((out[0], out[1]))


def _channel_pieces(func):
    def rule(x, size, dim: int = 0):
        if not isinstance(x, BlockTensor) or dim not in (1, -3):
            return Refusal("not along the channels")
        blocks, halves = x.packed
        pieces = func(blocks, size, 1)
        others = [None] * len(pieces) if halves is None else func(halves, size, 1)
        return type(pieces)(x.like(pair) for pair in zip(pieces, others))

    return rule


for _function in (torch.chunk, T.chunk, torch.split, T.split, torch.tensor_split):
    RULES[_function] = _channel_pieces(_function)


@implements(torch.narrow, T.narrow)
def narrow(x, dim, start, length):
    if dim not in (1, -3):
        return Refusal("not along the channels")
    return x.map(lambda level: level.narrow(1, start, length))


@implements(torch.flip, T.flip, torch.roll, T.roll)
def moves_pixels(x, *args, **kwargs):
    return Refusal("pixels change cells")


def _whole(index) -> bool:
    return isinstance(index, slice) and index == slice(None)


@implements(T.__getitem__)
def getitem(x, index):
    """Channel slices, and slices that step through the pixels from a block's first ones."""
    index = index if isinstance(index, tuple) else (index,)
    if Ellipsis in [i for i in index if not isinstance(i, torch.Tensor)]:
        at = next(k for k, i in enumerate(index) if i is Ellipsis)
        index = index[:at] + (slice(None),) * (5 - len(index)) + index[at + 1 :]
    index = index + (slice(None),) * (4 - len(index))
    if len(index) != 4 or not all(isinstance(i, slice) for i in index) or not _whole(index[0]):
        return Refusal("indexing that is not a slice of channels or a stride")
    steps = []
    for axis, piece in enumerate(index[2:]):
        step = piece.step or 1
        start = piece.start or 0
        whole = piece.stop is None or piece.stop >= x.shape[2 + axis]
        scale = 2 if x.frame.grid.has_halves else 1
        if not whole or not 0 <= start < step or (x.block[axis] // scale) % step:
            return Refusal("a slice that cuts through blocks")
        steps.append(step)
    block = (x.block[0] // steps[0], x.block[1] // steps[1])
    rows = slice(index[2].start, None, index[2].step)
    cols = slice(index[3].start, None, index[3].step)
    if steps == [1, 1]:
        return x.map(lambda level: level[:, index[1]])
    # A view as torch's own: what is written to it or to its source shows in the other.
    return x.map(lambda level: level[:, index[1], rows, cols], block)


@implements(F.pad)
def pad(input, pad, mode: str = "constant", value=None):
    """Kept as a note: the convolution or pool that follows takes it as its halo."""
    if not isinstance(input, BlockTensor) or len(pad) % 2 or len(pad) > 4 or min(pad) < 0:
        return Refusal("padding that is not two-dimensional, or that crops")
    pad = tuple(pad) + (0,) * (4 - len(pad))
    if not any(pad):
        return input.map(torch.clone)
    left, right, top, bottom = pad
    halo = (top, bottom, left, right)
    return PaddedBlockTensor(input, Padding(halo, mode, float(value or 0.0)))


@implements(F.pixel_shuffle, torch.pixel_shuffle)
def pixel_shuffle(input, upscale_factor: int):
    r = upscale_factor
    block = (input.block[0] * r, input.block[1] * r)
    return input.map(lambda level: _nhwc(F.pixel_shuffle(level, r)), block)


@implements(F.pixel_unshuffle, torch.pixel_unshuffle)
def pixel_unshuffle(input, downscale_factor: int):
    r = downscale_factor
    scale = 2 if input.frame.grid.has_halves else 1
    if any((side // scale) % r for side in input.block):
        return Refusal("a factor that does not divide the block")
    block = (input.block[0] // r, input.block[1] // r)

    def unshuffle(level: torch.Tensor) -> torch.Tensor:
        if not level.shape[0]:  # torch gives an empty batch back as it is
            n, c, h, w = level.shape
            return level.new_empty((n, c * r * r, h // r, w // r))
        return _nhwc(F.pixel_unshuffle(level, r))

    return input.map(unshuffle, block)


@implements(F.channel_shuffle, torch.channel_shuffle)
def channel_shuffle(input, groups: int):
    return input.map(lambda level: _nhwc(F.channel_shuffle(level, groups)))


def _nhwc(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)
