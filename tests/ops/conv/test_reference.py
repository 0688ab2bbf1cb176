"""Folding and tap-gathered convolution."""

import pytest
import torch
import torch.nn.functional as F

from mmdyn.ops.conv import fold_norm
from mmdyn.ops.conv.reference import conv_taps


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_folding_a_norm(biased, affine, dtype):
    weight, x = torch.randn(6, 4, 3, 3, dtype=dtype), torch.randn(2, 4, 8, 8, dtype=dtype)
    bias = torch.randn(6, dtype=dtype) if biased else None
    mean, var = torch.randn(6, dtype=dtype), torch.rand(6, dtype=dtype) + 0.5
    gamma, beta = (torch.randn(6, dtype=dtype) if affine else None for _ in range(2))
    wanted = F.batch_norm(F.conv2d(x, weight, bias), mean, var, gamma, beta, eps=1e-3)
    got = F.conv2d(x, *fold_norm(weight, bias, (mean, var, gamma, beta, 1e-3)))
    limit = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    assert got.dtype == dtype
    assert float((got - wanted).abs().max()) <= limit * float(wanted.abs().max())


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("rows", [5, 400])
@pytest.mark.parametrize("depthwise", [False, True])
def test_taps_are_a_sum_over_the_kernel(depthwise, rows, biased):
    store, index = torch.randn(30, 24), torch.randint(0, 30, (rows, 9))
    weight = torch.randn(9, 24) if depthwise else torch.randn(9, 24, 4)
    bias = torch.randn(24 if depthwise else 4) if biased else None
    got = conv_taps(store, index, weight, bias, depthwise)
    picked = store[index]
    wanted = (picked * weight).sum(1) if depthwise else torch.einsum("mkc,kcd->md", picked, weight)
    wanted = wanted if bias is None else wanted + bias
    assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-4)
    assert conv_taps(store, index[:0], weight, bias, depthwise).shape == (0, wanted.shape[1])
