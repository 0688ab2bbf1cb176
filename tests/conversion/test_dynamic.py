"""What all converted models share."""

import io
import warnings

import pytest
import torch
from torch import nn

from mmdyn import BlockCopyConfig, SegBlocksConfig, convert_model, restore_model
from tests.conversion.gated_networks import gated
from tests.gating.residual import Basic


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x).relu()


def blockcopy():
    net = Net().eval()
    convert_model(net, BlockCopyConfig(block_size=16), trial=False)
    return net


def segblocks():
    net = Net().eval()
    convert_model(net, SegBlocksConfig(block_size=16), trial=False)
    return net


def trace(net, x):
    torch.jit.trace(net, x)


def export(net, x):
    torch.export.export(net, (x,), strict=False)


def onnx(net, x):
    torch.onnx.export(net, (x,), io.BytesIO(), dynamo=False)


@pytest.mark.parametrize("write", [trace, export, onnx])
@pytest.mark.parametrize("make", [gated, blockcopy, segblocks])
@torch.no_grad()
def test_an_export_is_refused_and_harms_nothing(make, write):
    net, x = make(), torch.randn(1, 3, 32, 48)
    wanted = gated()(x) if make is gated else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters themselves
        with pytest.raises(NotImplementedError, match=r"is converted .*restore_model"):
            write(net, x)
    assert wanted is None or torch.equal(net(x), wanted)
    torch.jit.trace(restore_model(net), x)


@torch.no_grad()
def test_an_export_of_a_part_is_refused_too():
    with pytest.raises(NotImplementedError, match="Basic is converted"):
        torch.jit.trace(gated().layer1, torch.randn(1, 8, 9, 9))


@torch.no_grad()
def test_a_compilation_is_no_export():
    x, net = torch.randn(1, 8, 9, 9), gated(nn.Sequential(Basic()).eval(), execution="dense")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(net, backend="eager")(x)
    assert torch.allclose(compiled, net(x), atol=1e-5)
