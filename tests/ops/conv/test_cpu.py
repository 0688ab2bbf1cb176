"""The packed, fused convolution against the plain one."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from mmdyn.ops.conv import Epilogue, PackedConv, cpu
from mmdyn.ops.conv.cpu import fused_conv_works, order_of
from mmdyn.ops.conv.reference import ACTIVATIONS

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3, torch.float64: 1e-12}
GEOMETRY = list(itertools.product([1, 3, (1, 5)], [1, 2], [1, 2], [1, 4, 16]))


def inputs(kernel, groups, dtype=torch.float32, n=3, channels=16):
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    x = torch.randn(n, channels, 11, 13).to(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels // groups, *kernel) * 0.2
    return x.to(dtype), weight.to(dtype), torch.randn(channels).to(dtype)


def check(got, wanted):
    assert got.shape == wanted.shape and got.dtype == wanted.dtype
    if got.numel():
        limit = TOLERANCE[wanted.dtype] * float(wanted.double().abs().max().clamp(min=1.0))
        assert float((got.double() - wanted.double()).abs().max()) <= limit


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kernel, stride, dilation, groups", GEOMETRY)
def test_every_geometry(kernel, stride, dilation, groups, dtype):
    x, weight, bias = inputs(kernel, groups, dtype)
    conv = PackedConv(weight, bias, (stride, stride), (dilation, dilation), groups)
    wanted = F.conv2d(x, weight, bias, stride, 0, dilation, groups)
    for images in (3, 1, 0):
        check(conv(x[:images]), wanted[:images])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("name", [None, *ACTIVATIONS])
def test_every_epilogue(name, residual, dtype):
    scalars = {"leaky_relu": (0.1,), "hardtanh": (-0.5, 0.5)}.get(name, ())
    x, weight, bias = inputs(3, 1, dtype)
    other = torch.randn(3, 16, 9, 11).to(dtype) if residual else None
    kept = None if other is None else other.clone()
    epilogue = Epilogue(name, scalars)
    wanted = epilogue(F.conv2d(x, weight, bias), other)
    check(PackedConv(weight, bias, (1, 1), (1, 1), 1)(x, epilogue, other), wanted)
    assert other is None or torch.equal(other, kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_inputs_and_residuals_of_any_memory_layout(dtype):
    x, weight, bias = inputs(1, 1, dtype, channels=32)
    weight, bias = weight[:, :16], bias
    conv = PackedConv(weight, bias, (1, 1), (1, 1), 1)
    layouts = [x[:, 8:24], x.contiguous()[:, 16:], x[:, ::2], x[:, 8:24, 1:, 1:]]
    for view in layouts:
        wanted = F.conv2d(view, weight, bias)
        check(conv(view), wanted)
        whole = torch.randn(3, 64, *view.shape[2:]).to(dtype)
        for residual in (whole[:, 32:], whole.to(memory_format=torch.channels_last)[:, 32:]):
            check(conv(view, Epilogue("relu"), residual), F.relu(wanted + residual))


def test_the_fused_path_is_the_one_tested():
    assert fused_conv_works(torch.float32)


@torch.no_grad()
def test_every_number_of_windows_finds_the_weight_in_the_order_that_onednn_wants():
    """13 windows after 128 took eight times as long with the order of 128."""
    weight, bias = torch.randn(512, 2048, 1, 1) * 0.02, torch.randn(512)
    conv = PackedConv(weight, bias, (1, 1), (1, 1), 1)
    wanted = {}
    for number in (64, 13, 1, 64, 13):
        x = torch.randn(number, 2048, 8, 8).contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(conv(x), F.conv2d(x, weight, bias), rtol=1e-4, atol=1e-4)
        wanted[number] = order_of(conv._pack(weight, (1, 1), (1, 1), 1, x.shape))
        assert order_of(conv._packed[number, 8, 8]) == wanted[number]
    assert None not in wanted.values()
    assert len(conv._orders) == len(set(wanted.values()))


@torch.no_grad()
def test_orders_are_given_up_when_they_are_many(monkeypatch):
    monkeypatch.setattr(cpu, "_MOST_SHAPES", 3)
    conv = PackedConv(torch.randn(8, 8, 1, 1), None, (1, 1), (1, 1), 1)
    for number in range(1, 9):
        x = torch.randn(number, 8, 9, 9).contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight), rtol=1e-4, atol=1e-4)
        assert 1 <= len(conv._packed) <= 3


@pytest.mark.parametrize("served", [True, False], ids=["compiled", "gathered"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(
    "side, kernel, stride, dilation",
    [((10, 10), (3, 3), (1, 1), (1, 1)), ((8, 5), (3, 3), (1, 1), (2, 1)),
     ((9, 9), (3, 3), (2, 2), (1, 1)), ((4, 7), (1, 3), (1, 2), (1, 1))],
)  # fmt: skip
def test_windows_of_rows(side, kernel, stride, dilation, groups, dtype, served, monkeypatch):
    """Whole windows are read where their rows lie, or gathered first."""
    if not served:
        monkeypatch.setattr(cpu, "tiles_serve", lambda *args: False)
    draw = torch.Generator().manual_seed(0)
    store = torch.randn(70, 32, generator=draw).to(dtype)
    index = torch.randint(0, 70, (3, side[0] * side[1]), generator=draw)
    weight = torch.randn(24, 32 // groups, *kernel, generator=draw).mul_(0.1).to(dtype)
    bias = torch.randn(24, generator=draw).to(dtype)
    conv = PackedConv(weight, bias, stride, dilation, groups)
    windows = store[index].view(3, *side, 32).permute(0, 3, 1, 2)
    exact = weight.double(), bias.double(), stride, 0, dilation, groups
    wanted = torch.relu(F.conv2d(windows.double(), *exact))
    with torch.no_grad():
        got = conv.of_rows(store, index, side, Epilogue("relu"))
    check(got, wanted.to(dtype))
    none = conv.of_rows(store, index[:0], side)
    assert none.shape == (0, *wanted.shape[1:])
