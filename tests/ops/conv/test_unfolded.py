"""Convolutions of few output pixels, unfolded, against the plain one."""

import pytest
import torch
import torch.nn.functional as F

from mmdyn.ops.conv import Epilogue, PackedConv, unfolded
from mmdyn.ops.conv.unfolded import UnfoldedConv, unfolding_pays


@pytest.mark.parametrize("stride", [(1, 1), (2, 1)], ids=str)
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3)], ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (1, 2)], ids=str)
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
def test_every_geometry(kernel, dilation, stride, residual):
    x = torch.randn(3, 8, 7, 9).to(memory_format=torch.channels_last)
    weight, bias = torch.randn(5, 8, *kernel), torch.randn(5)
    plain = F.conv2d(x, weight, bias, stride, 0, dilation)
    other = torch.randn_like(plain) if residual else None
    conv = UnfoldedConv(weight, bias, stride, dilation, x.shape[2:])
    epilogue = Epilogue("relu")
    got = conv(x, epilogue, other)
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got, epilogue(plain, other), rtol=1e-4, atol=1e-4)


def test_one_convolution_serves_windows_of_many_sizes():
    weight, bias = torch.randn(32, 32, 3, 3), torch.randn(32)
    conv = PackedConv(weight, bias, (1, 1), (1, 1), 1)
    for side in [4, 6, 10, 18, 12, 20, 5, 7, 34, 4, 9, 6]:
        x = torch.randn(2, 32, side, side).to(memory_format=torch.channels_last)
        torch.testing.assert_close(conv(x), F.conv2d(x, weight, bias), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
def test_many_windows_are_unfolded_piece_after_piece(monkeypatch, dtype, residual):
    monkeypatch.setattr(unfolded, "_ROWS", {torch.float32: 40})
    monkeypatch.setattr(unfolded, "_ROWS_ELSE", 20)
    x = torch.randn(7, 8, 6, 6).to(dtype).to(memory_format=torch.channels_last)
    weight, bias = torch.randn(5, 8, 3, 3).to(dtype), torch.randn(5).to(dtype)
    plain = F.conv2d(x.float(), weight.float(), bias.float())
    other = torch.randn_like(plain).to(dtype) if residual else None
    conv = UnfoldedConv(weight, bias, (1, 1), (1, 1), x.shape[2:])
    got = conv(x, Epilogue("relu"), other)
    assert got.is_contiguous(memory_format=torch.channels_last)
    wanted = torch.relu(plain if other is None else plain + other.float())
    close = 1e-4 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(got.float(), wanted, rtol=close, atol=close)


def test_heavy_weights_are_unfolded_where_windows_are_small():
    heavy = torch.empty(512, 2560, 3, 3)
    assert unfolding_pays((10, 10), heavy, (1, 1), (1, 1), 1)
    assert not unfolding_pays((34, 34), heavy, (1, 1), (1, 1), 1)
    assert not unfolding_pays((10, 10), heavy.bfloat16(), (1, 1), (1, 1), 1)
    assert not unfolding_pays((10, 10), torch.empty(512, 512, 3, 3), (1, 1), (1, 1), 1)


def test_only_windows_of_few_outputs_are_unfolded():
    weight = torch.randn(64, 64, 3, 3)
    assert unfolding_pays((4, 4), weight, (1, 1), (1, 1), 1)
    assert unfolding_pays((5, 5), weight, (2, 2), (1, 1), 1)
    assert unfolding_pays((6, 6), weight, (1, 1), (1, 1), 1)
    assert not unfolding_pays((7, 7), weight, (1, 1), (1, 1), 1)
    assert not unfolding_pays((4, 4), weight, (1, 1), (1, 1), 2)
    assert not unfolding_pays((2, 2), torch.randn(64, 64, 1, 1), (1, 1), (1, 1), 1)
