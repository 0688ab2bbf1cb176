"""Shapes, cost and shortcuts of the CIFAR ResNets."""

import pytest
import torch
from torch import nn

from mmdyn.models.classification import BasicBlock, CIFARResNet, PadShortcut


def conv_macs(net: nn.Module, size: int = 32) -> int:
    """Multiply-accumulates of the convolutions, counted from their outputs."""
    total = 0

    def note(module, inputs, output):
        nonlocal total
        total += module.weight[0].numel() * output.numel()

    handles = [m.register_forward_hook(note) for m in net.modules() if isinstance(m, nn.Conv2d)]
    net.eval()(torch.zeros(1, 3, size, size))
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.parametrize(
    ("depth", "millions"), [(8, 12.50), (14, 26.66), (20, 40.81), (26, 54.97), (32, 69.12)]
)
def test_macs_are_the_published_ones(depth, millions):
    assert round(conv_macs(CIFARResNet(depth)) / 1e6, 2) == pytest.approx(millions, abs=0.006)


def test_resnet32_costs_exactly_as_published():
    linear = 64 * 10
    assert conv_macs(CIFARResNet(32)) + linear == 69_124_736
    projections = 32 * 16 * 16 * 16 + 64 * 32 * 8 * 8
    assert conv_macs(CIFARResNet(32, shortcut="pad")) + linear == 69_124_736 - projections


def test_features_of_the_stages_asked_for():
    net = CIFARResNet(8, base_channels=4, out_indices=(0, 2)).eval()
    assert [tuple(x.shape) for x in net(torch.randn(2, 3, 32, 32))] == [
        (2, 4, 32, 32),
        (2, 16, 8, 8),
    ]


def test_pad_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides():
    x = torch.randn(2, 4, 6, 6)
    out = PadShortcut(4, 8)(x)
    assert out.shape == (2, 8, 3, 3)
    assert torch.equal(out[:, 2:6], x[:, :, ::2, ::2])
    assert not out[:, :2].any() and not out[:, 6:].any()


def test_block_is_its_formula():
    block = BasicBlock(4, 8, 2, PadShortcut(4, 8)).eval()
    nn.init.normal_(block.bn1.running_mean)
    x = torch.randn(1, 4, 8, 8)
    inner = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
    assert torch.allclose(block(x), torch.relu(inner + block.downsample(x)))
    assert block.norm1 is block.bn1 and block.norm2 is block.bn2


def test_frozen_stages_stay_as_they_are():
    net = CIFARResNet(8, base_channels=4, frozen_stages=1).train()
    before = net.layer1[0].bn1.running_mean.clone()
    net(torch.randn(4, 3, 16, 16))
    assert torch.equal(net.layer1[0].bn1.running_mean, before)
    assert not any(p.requires_grad for p in [*net.conv1.parameters(), *net.layer1.parameters()])
    assert all(p.requires_grad for p in net.layer2.parameters())
    assert net.layer2.training and not net.layer1.training


def test_norm_eval_keeps_all_statistics():
    net = CIFARResNet(8, base_channels=4, norm_eval=True).train()
    net(torch.randn(4, 3, 16, 16))
    assert not net.layer3[0].bn2.running_mean.any() and net.layer3[0].conv1.weight.requires_grad


@pytest.mark.parametrize(
    "wrong",
    [
        dict(depth=18),
        dict(depth=2),
        dict(depth=8, shortcut="A"),
        dict(depth=8, out_indices=(3,)),
        dict(depth=8, frozen_stages=4),
    ],
)
def test_what_there_is_not_is_refused(wrong):
    with pytest.raises(ValueError, match="expected|must"):
        CIFARResNet(**wrong)


def test_a_pad_shortcut_cannot_drop_channels():
    with pytest.raises(ValueError, match="projection"):
        PadShortcut(8, 4)
