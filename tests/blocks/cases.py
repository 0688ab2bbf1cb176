"""One function a rule, with its weights: the table that the laws are tried on.

A case maps an (N, 8, H, W) image to a tensor or a tuple of tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CHANNELS = 8


class Case(NamedTuple):
    """A function of one feature map.

    Attributes:
        name: What it shows.
        function: Takes the map and the case's weights by name.
        weights: Their shapes.
        local: Each output cell depends on its cell and its neighbours alone, on blocks throughout;
            False for reductions over the image, and for what runs on the dense composite.
        scale_free: A half-resolution image gives the half-resolution output.
        smooth: Differentiable almost everywhere, with gradients that mean something.
        reach: Layers in a row that look over a cell's edge.
    """

    name: str
    function: Callable[..., Tensor]
    weights: dict[str, tuple[int, ...]] = {}
    local: bool = True
    scale_free: bool = True
    smooth: bool = True
    reach: int = 1

    def build(self, dtype: torch.dtype = torch.float32) -> tuple[Callable, dict[str, Tensor]]:
        """The function with its weights bound, and the weights."""
        generator = torch.Generator().manual_seed(sum(map(ord, self.name)))
        weights = {
            name: torch.randn(shape, generator=generator, dtype=torch.float64).mul(0.2).to(dtype)
            for name, shape in self.weights.items()
        }
        for name in weights:
            if name == "var":
                weights[name] = weights[name].abs() + 0.5
        return lambda x: self.function(x, **weights), weights

    def __str__(self) -> str:
        return self.name


def _conv(name: str, out: int, kernel: int | tuple[int, int], groups: int = 1, **kwargs) -> Case:
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    shape = (out, CHANNELS // groups, kh, kw)
    flags = {k: kwargs.pop(k) for k in ("local", "scale_free") if k in kwargs}
    return Case(
        name,
        lambda x, w, b: F.conv2d(x, w, b, groups=groups, **kwargs),
        {"w": shape, "b": (out,)},
        **flags,
    )


def _padded(name: str, pads, mode: str, kernel: int, stride: int = 1, value=None, **flags) -> Case:
    return Case(
        name,
        lambda x, w: F.conv2d(F.pad(x, pads, mode, value), w, None, stride),
        {"w": (12, CHANNELS, kernel, kernel)},
        **flags,
    )


def _deconv(name: str, kernel: int, groups: int = 1, **kwargs) -> Case:
    return Case(
        name,
        lambda x, w, b: F.conv_transpose2d(x, w, b, groups=groups, **kwargs),
        {"w": (CHANNELS, 8 // groups, kernel, kernel), "b": (8,)},
    )


def _block(x, w, mean, var, gamma, beta):
    y = F.relu(F.batch_norm(F.conv2d(x, w, None, 1, 1), mean, var, gamma, beta), inplace=True)
    return F.relu_(F.batch_norm(F.conv2d(y, w, None, 1, 1), mean, var, gamma, beta) + x)


_NORM = {"mean": (8,), "var": (8,), "gamma": (8,), "beta": (8,)}
EXACT_PADS = {"scale_free": False}  # the padding's width is in pixels of the full resolution

CONVOLUTION = [
    _conv("conv 1x1", 12, 1),
    _conv("conv 3x3", 12, 3, padding=1),
    _conv("conv 3x3 stride 2", 12, 3, padding=1, stride=2),
    _conv("conv 7x7 stride 2", 12, 7, padding=3, stride=2),
    _conv("conv 1x1 stride 2", 12, 1, stride=2),
    _conv("conv 4x4 stride 4", 12, 4, stride=4),
    _conv("conv 1x7", 12, (1, 7), padding=(0, 3)),
    _conv("conv 5x1 stride (1, 2)", 12, (5, 1), padding=(2, 0), stride=(1, 2)),
    _conv("conv 3x3 dilation 3", 12, 3, padding=3, dilation=3),
    _conv("conv 3x3 dilation 12", 12, 3, padding=12, dilation=12),
    _conv("conv 3x3 groups 4", 16, 3, padding=1, groups=4),
    _conv("conv depthwise", 8, 3, padding=1, groups=8),
    _conv("conv depthwise dilation 12", 8, 3, padding=12, dilation=12, groups=8),
    _conv("conv depthwise multiplier 2", 16, 3, padding=12, dilation=12, groups=8),
    _conv("conv same", 12, 4, padding="same", scale_free=True),
    _conv("conv valid", 12, 3, local=False),
    _padded("conv after asymmetric padding", (0, 1, 0, 1), "constant", 3, 2),
    _padded("conv after valued padding", (1, 1, 1, 1), "constant", 3, 1, 0.7),
    _padded("conv after reflection", (2, 2, 2, 2), "reflect", 5),
    _padded("conv after replication", (1, 1, 1, 1), "replicate", 3),
    _padded("conv after circular padding", (1, 1, 1, 1), "circular", 3),
    _padded("conv after padding that stays", (2, 2, 2, 2), "constant", 3, 1, local=False),
    _deconv("deconv 2x2 stride 2", 2, stride=2),
    _deconv("deconv 4x4 stride 2", 4, stride=2, padding=1),
    _deconv("deconv 3x3 stride 2", 3, stride=2, padding=1, output_padding=1),
    _deconv("deconv 3x3 dilation 2", 3, padding=2, dilation=2),
    _deconv("deconv 4x4 groups", 4, groups=4, stride=2, padding=1),
    Case("bottleneck", _block, {"w": (8, 8, 3, 3), **_NORM}, reach=2),
]

NORMALIZATION = [
    Case(
        "batch norm",
        lambda x, mean, var, gamma, beta: F.batch_norm(x, mean, var, gamma, beta),
        _NORM,
    ),
    Case(
        "group norm",
        lambda x, gamma, beta: F.group_norm(x, 4, gamma, beta),
        {"gamma": (8,), "beta": (8,)},
        local=False,
    ),
    Case("instance norm", lambda x: F.instance_norm(x), local=False),
    Case("layer norm of the image", lambda x: F.layer_norm(x, x.shape[1:]), local=False),
    Case("local response norm", lambda x: F.local_response_norm(x, 3)),
]

POOLING = [
    Case("max pool 2x2", lambda x: F.max_pool2d(x, 2)),
    Case("max pool 3x3 stride 2", lambda x: F.max_pool2d(x, 3, 2, 1)),
    Case("max pool 5x5", lambda x: F.max_pool2d(x, 5, 1, 2)),
    Case("max pool 3x3 ceil", lambda x: F.max_pool2d(x, 3, 2, 0, ceil_mode=True)),
    Case("max pool dilated", lambda x: F.max_pool2d(F.pad(x, (2, 2, 2, 2)), 3, 1, 0, 2)),
    Case("max pool that shrinks", lambda x: F.max_pool2d(x, 3, 1, 1, 2), local=False),
    Case("max pool after padding", lambda x: F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 2, 1)),
    Case(
        "max pool with indices", lambda x: F.max_pool2d(x, 2, return_indices=True)[0], local=False
    ),
    Case("average pool 3x3", lambda x: F.avg_pool2d(x, 3, 1, 1)),
    Case("average pool 3x3 stride 2", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)),
    Case("average pool divisor", lambda x: F.avg_pool2d(x, 3, 1, 1, divisor_override=4)),
    Case("global average", lambda x: F.adaptive_avg_pool2d(x, 1), local=False),
    Case("global maximum", lambda x: F.adaptive_max_pool2d(x, 1), local=False),
    Case("adaptive to a divisor", lambda x: F.adaptive_avg_pool2d(x, (8, 12)), scale_free=False),
    Case("adaptive across blocks", lambda x: F.adaptive_avg_pool2d(x, (3, 5)), local=False),
    Case("adaptive maximum", lambda x: F.adaptive_max_pool2d(x, (8, None)), scale_free=False),
]

RESAMPLING = [
    Case("nearest x2", lambda x: F.interpolate(x, scale_factor=2)),
    Case("nearest to a size", lambda x: F.interpolate(x, size=(64, 96)), scale_free=False),
    Case("nearest /2", lambda x: F.interpolate(x, scale_factor=0.5)),
    Case("nearest-exact x2", lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact")),
    Case("bilinear x2", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
    Case("bilinear (2, 4)", lambda x: F.interpolate(x, scale_factor=(2, 4), mode="bilinear")),
    Case(
        "bilinear x4 corners",
        lambda x: F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=True),
        scale_free=False,
    ),
    Case(
        "bilinear down",
        lambda x: F.interpolate(x, size=(16, 24), mode="bilinear"),
        scale_free=False,
    ),
    Case(
        "bilinear x1.5",
        lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"),
        scale_free=False,
    ),
    Case(
        "bicubic x2", lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), scale_free=False
    ),
    Case("area", lambda x: F.interpolate(x, size=(16, 24), mode="area"), local=False),
    Case(
        "antialias",
        lambda x: F.interpolate(x, size=(16, 24), mode="bilinear", antialias=True),
        local=False,
    ),
    Case("to an odd size", lambda x: F.interpolate(x, size=(19, 31), mode="bilinear"), local=False),
]

REDUCTION = [
    Case("mean of the image", lambda x: x.mean((2, 3), keepdim=True), local=False),
    Case("sum of the image", lambda x: x.sum((2, 3)), local=False),
    Case("mean of channels", lambda x: x.mean(1, keepdim=True)),
    Case("sum of channels", lambda x: torch.sum(x, 1, True)),
    Case("max of channels", lambda x: x.max(1, keepdim=True)[0]),
    Case("min of channels", lambda x: torch.min(x, dim=1, keepdim=True).values),
    Case("amax", lambda x: x.amax(1, keepdim=True)),
    Case("argmax", lambda x: x.argmax(1, keepdim=True), smooth=False),
    Case("argmax without channels", lambda x: x.argmax(1), local=False, smooth=False),
    Case("norm of channels", lambda x: torch.norm(x, 2, dim=1, keepdim=True)),
    Case("normalize", lambda x: F.normalize(x, dim=1)),
    Case("softmax", lambda x: x.softmax(1)),
    Case("log softmax", lambda x: F.log_softmax(x, dim=1)),
    Case("everything", lambda x: x.std(), local=False),
]

SHAPE = [
    Case("cat", lambda x: torch.cat([x, x * 2], 1)),
    Case("cat with a dense map", lambda x: torch.cat([x, torch.ones(*x.shape)], 1)),
    Case("chunk", lambda x: x.chunk(2, 1)[1] * x.chunk(2, dim=1)[0]),
    Case("split", lambda x: torch.cat(x.split([3, 5], 1)[::-1], 1)),
    Case("narrow", lambda x: x.narrow(1, 2, 4)),
    Case("channel slice", lambda x: x[:, 2:5]),
    Case("one channel", lambda x: x[:, 3], local=False),
    Case("focus", lambda x: torch.cat([x[..., ::2, ::2], x[..., 1::2, 1::2]], 1), scale_free=False),
    Case("crop", lambda x: x[..., 1:-1, 2:], local=False),
    Case("pixel shuffle", lambda x: F.pixel_shuffle(x, 2), scale_free=False),
    Case("pixel unshuffle", lambda x: F.pixel_unshuffle(x, 2), scale_free=False),
    Case("channel shuffle", lambda x: F.channel_shuffle(x, 4)),
    Case("permute", lambda x: x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, 8), local=False),
    Case("flip", lambda x: x.flip(3), local=False),
    Case("pad alone", lambda x: F.pad(x, (1, 2, 3, 4)), local=False),
    Case("to", lambda x: x.to(torch.float64).float()),
]


def _ramp(x):
    return torch.linspace(0, 1, x.shape[3]).to(x.dtype).expand(x.shape[2], -1)[None]


def _written(x):
    x = x + 1
    x.clamp_(0, 1)
    x.add_(x.mean((2, 3), keepdim=True))
    x *= 2
    return x


def _setitem(x):
    x = x.clone()
    x[:, :2] = 0.5
    return x


def _views(x):
    x = x.clone()
    first, second = x.chunk(2, 1)
    first.mul_(2)
    second += first
    return x


ELEMENTWISE = [
    Case("relu", lambda x: F.relu(x)),
    Case("leaky relu", lambda x: F.leaky_relu(x, 0.2)),
    Case("hardtanh", lambda x: F.hardtanh(x, -0.5, 0.5)),
    Case("relu6", lambda x: F.relu6(x)),
    Case("silu", lambda x: F.silu(x)),
    Case("hardswish", lambda x: F.hardswish(x)),
    Case("hardsigmoid", lambda x: F.hardsigmoid(x)),
    Case("elu", lambda x: F.elu(x, 0.7)),
    Case("gelu", lambda x: F.gelu(x)),
    Case("mish", lambda x: F.mish(x)),
    Case("softplus", lambda x: F.softplus(x)),
    Case("tanh", lambda x: torch.tanh(x).sigmoid()),
    Case("prelu", lambda x, slope: F.prelu(x, slope), {"slope": (8,)}),
    Case("glu", lambda x: F.glu(x, 1), local=False),
    Case("arithmetic", lambda x: (2 - x) / (x.abs() + 1) + 3 * x**2 - x),
    Case("swapped", lambda x: torch.exp(-x) * 0.5 + 1 / (1 + x * x)),
    Case("dense operand", lambda x, m: x * m + m, {"m": (1, 8, 1, 1)}),
    Case("dense map", lambda x: x * _ramp(x), scale_free=False),
    Case("comparison", lambda x: torch.where(x > 0, x, x * 0.1)),
    Case("maximum", lambda x: torch.maximum(x, -x)),
    Case("lerp", lambda x: torch.lerp(x, x * 2, 0.3)),
    Case("masked fill", lambda x: x.masked_fill(x < 0, 0.25)),
    Case("gate", lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), local=False),
    Case("in place", _written, local=False),
    Case("set item", _setitem, local=False),
    Case("views written", _views, smooth=False),
    Case("zeros like", lambda x: torch.zeros_like(x) + 1, smooth=False),
    Case("dropout", lambda x: F.dropout(x, 0.5, False) + 1),
]

TABLE = {
    "convolution": CONVOLUTION,
    "elementwise": ELEMENTWISE,
    "normalization": NORMALIZATION,
    "pooling": POOLING,
    "reduction": REDUCTION,
    "resampling": RESAMPLING,
    "shape": SHAPE,
}
ALL = [case for cases in TABLE.values() for case in cases]
