"""tools/common/masked.py: which convolutions mmcv's operator gets, and with what."""

from types import ModuleType

import mmcv.ops
import pytest
import torch
import torch.nn.functional as F
from torch import nn


@pytest.fixture
def network(monkeypatch) -> nn.Module:
    """Some convolutions; mmcv's operator, which has no CPU code, is stood in for."""

    def masked_conv2d(x, mask, weight, bias, padding):
        assert weight.is_contiguous() and mask.shape == (1, *x.shape[2:])
        return F.conv2d(x, weight, bias, 1, padding) * (mask > 0)

    monkeypatch.setattr(mmcv.ops, "masked_conv2d", masked_conv2d)
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.Conv2d(4, 4, 3, 1, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 3, 1, 2, dilation=2),
        nn.Conv2d(4, 2, 1),
    )
    return layers.eval().to(memory_format=torch.channels_last)


def test_all_blocks_are_the_dense_network(tool: ModuleType, network: nn.Module) -> None:
    image = torch.randn(1, 3, 64, 64)
    masked = tool.MaskedCore(network, 1.0, (32, 32))
    assert masked.converted == 2
    with torch.no_grad():
        assert torch.allclose(masked(image), network(image), atol=1e-5)
    assert len(masked.state_dict()) == len(network.state_dict()) - 4  # of the batch norm: folded


def test_other_blocks_are_zeros(tool: ModuleType, network: nn.Module) -> None:
    with torch.no_grad():
        out = tool.MaskedCore(network, 0.25, (32, 32))(torch.randn(1, 3, 64, 64))
    blocks = out.view(1, 2, 2, 16, 2, 16).abs().amax((0, 1, 3, 5))
    assert int((blocks > 0).sum()) == 1
