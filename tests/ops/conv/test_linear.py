"""The packed matrix product and the tap convolution against their references."""

import pytest
import torch

from mmdyn.ops.conv import Epilogue, PackedLinear, TapConv
from mmdyn.ops.conv import linear as room
from mmdyn.ops.conv.reference import ACTIVATIONS, conv_taps

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float64: 1e-12}
SCALARS = {"leaky_relu": (0.1,), "hardtanh": (-0.5, 0.5)}


def check(got, wanted):
    assert got.shape == wanted.shape and got.dtype == wanted.dtype
    if got.numel():
        limit = TOLERANCE[got.dtype] * float(wanted.double().abs().max().clamp(min=1.0))
        assert float((got.double() - wanted.double()).abs().max()) <= limit


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("biased", [False, True], ids=["", "biased"])
@pytest.mark.parametrize("name", [None, *ACTIVATIONS])
def test_product_and_epilogue(name, biased, residual, dtype):
    weight, bias = torch.randn(24, 40).to(dtype), torch.randn(40).to(dtype) if biased else None
    linear, epilogue = PackedLinear(weight, bias), Epilogue(name, SCALARS.get(name, ()))
    for count in (7, 1, 300, 0):
        rows = torch.randn(count, 24).to(dtype)
        other = torch.randn(count, 40).to(dtype) if residual else None
        kept = None if other is None else other.clone()
        wanted = rows @ weight if bias is None else rows @ weight + bias
        check(linear(rows, epilogue, other), epilogue(wanted, other))
        assert other is None or torch.equal(other, kept)


def test_the_fused_path_is_the_one_tested():
    assert room.fused_linear_works(torch.float32)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("depthwise", [False, True], ids=["full", "depthwise"])
@pytest.mark.parametrize("chunk", [1 << 21, 1 << 10], ids=["at once", "in parts"])
def test_tap_convolution(chunk, depthwise, dtype, monkeypatch):
    monkeypatch.setattr(room, "_GATHERED", chunk)
    store = torch.randn(50, 16).to(dtype)
    weight = torch.randn(16 if depthwise else 8, 1 if depthwise else 16, 3, 3).to(dtype)
    bias = torch.randn(weight.shape[0]).to(dtype)
    conv = TapConv(weight, bias, depthwise)
    flat = weight.flatten(2).permute(2, 1, 0)
    flat = flat[:, 0] if depthwise else flat
    for count in (700, 3, 0):
        index = torch.randint(0, 50, (count, 9))
        other = torch.randn(count, weight.shape[0]).to(dtype)
        wanted = conv_taps(store.double(), index, flat.double(), bias.double(), depthwise)
        wanted = torch.relu(wanted + other.double()).to(dtype)
        check(conv(store, index, Epilogue("relu"), other), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("channels", [8, 32])
def test_some_rows_of_a_store(channels, dtype):
    draw = torch.Generator().manual_seed(0)
    store = torch.randn(40, channels, generator=draw).to(dtype)
    weight = torch.randn(channels, 24, generator=draw).mul_(0.1).to(dtype)
    bias = torch.randn(24, generator=draw).to(dtype)
    index = torch.tensor([3, 39, 0, 3, 17])
    with torch.no_grad():
        got = PackedLinear(weight, bias).of_rows(store, index, Epilogue("relu"))
    wanted = torch.relu(store.double()[index] @ weight.double() + bias.double())
    check(got, wanted.to(dtype))
