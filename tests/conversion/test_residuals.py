"""Residual blocks are found by their structure, proven on noise, or refused by name."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmdyn.conversion.residuals import find_residuals
from tests.gating.residual import BLOCKS, Basic, Bottleneck, Inverted, randomised, side


def only(block):
    (found,) = find_residuals(nn.Sequential(nn.Conv2d(3, 8, 1), block))
    assert found.path == "1" and found.block is block
    return found


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_kind_of_block_is_found(kind):
    found = only(BLOCKS[kind]())
    assert found.branch is not None, found.reason
    assert [s.shape.pointwise for s in found.branch.steps] == {"basic": [False, False]}.get(
        kind.split()[0], [True, False, True]
    )
    assert (found.branch.shortcut is None) == (getattr(found.block, "downsample", None) is None)


def test_the_search_changes_nothing_and_draws_no_random_number():
    net = nn.Sequential(Basic(), Bottleneck())
    before = {k: v.clone() for k, v in net.state_dict().items()}
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    assert len(list(find_residuals(net))) == 2
    assert torch.equal(torch.rand(1), wanted)
    assert net.training and all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize(
    "mode", [lambda: torch.autocast("cpu", torch.bfloat16), torch.enable_grad, torch.inference_mode]
)
def test_the_proof_runs_in_plain_pytorch_whatever_the_caller_is_in(mode):
    net = nn.Sequential(Basic(), Bottleneck(8, 8, 16), Inverted(16))
    with mode():
        assert [f.reason for f in find_residuals(net)] == [""] * 3


def test_zero_initialised_norms_do_not_hide_a_different_block():
    class Scaled(Basic):
        def forward(self, x):
            return super().forward(x) * 1.5

    block = Scaled()
    nn.init.zeros_(block.bn2.weight)
    assert "more than its layers say" in only(block).reason


def grouped_norm(block):
    block.bn1 = nn.GroupNorm(2, 8)


def replicate(block):
    block.conv1.padding_mode = "replicate"


def no_padding(block):
    block.conv1.padding = (0, 0)


def attention(block):
    block.se = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1))


def transposed(block):
    block.conv1 = nn.ConvTranspose2d(8, 8, 3, 1, 1)


def gelu(block):
    block.relu = nn.GELU()


def no_statistics(block):
    block.bn1 = nn.BatchNorm2d(8, track_running_stats=False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (grouped_norm, "bn1 is a GroupNorm"), (replicate, "replicate"), (no_padding, "pads"),
        (attention, "its se \\(Sequential\\)"), (transposed, "conv1 is a ConvTranspose2d"),
        (gelu, "activation is a GELU"), (no_statistics, "no running statistics"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_by_name(change, reason):
    block = Basic()
    change(block)
    found = only(block)
    assert found.branch is None
    assert re.search(reason, found.reason), found.reason


def test_attention_in_an_inverted_residual_is_refused_by_name():
    block = Inverted()
    block.conv.add_module("se", nn.AdaptiveAvgPool2d(1))
    assert "conv.se (AdaptiveAvgPool2d)" in only(block).reason


def test_blocks_without_a_residual_are_no_blocks():
    inverted = Inverted()
    inverted.identity = False
    net = nn.Sequential(inverted, nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    assert not list(find_residuals(net))


class Split(nn.Module):
    """What Res2Net does: the second convolution is several, one after the other."""

    def __init__(self, inputs=8, outputs=8, stride=1) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(inputs, 8, 1), nn.Conv2d(8, outputs, 1)
        self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, stride, 1) for _ in range(2))
        self.norm = nn.BatchNorm2d(outputs)
        self.downsample = side(inputs, outputs, stride)

    def forward(self, x):
        parts = self.first(x).chunk(2, 1)
        out = torch.cat([conv(part) for conv, part in zip(self.convs, parts)], 1)
        other = x if self.downsample is None else self.downsample(x)
        return F.relu(self.norm(self.last(out)) + other)


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 12, 2)])
def test_blocks_of_an_unknown_structure_are_named_by_what_they_do(shape):
    block = randomised(Split(*shape))
    called = []
    block.register_forward_hook(lambda *call: called.append(call))
    before = {k: v.clone() for k, v in block.state_dict().items()}
    assert "it adds its input" in only(block).reason
    assert not called and all(torch.equal(v, before[k]) for k, v in block.state_dict().items())
    (found,) = find_residuals(block)
    assert found.path == ""


def test_what_adds_nothing_or_has_no_convolutions_is_no_block():
    class Plain(Split):
        def forward(self, x):
            return F.relu(self.norm(self.last(self.first(x))))

    class Linear(nn.Module):  # mmcv's FFN
        add_identity = True

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(8, 8), nn.ReLU())

        def forward(self, x):
            return x + self.layers(x)

    assert not list(find_residuals(nn.Sequential(Plain(), Linear(), Linear())))


def test_res2net_is_refused_block_by_block():
    pytest.importorskip("mmdet")
    from mmdet.models.backbones import Res2Net

    found = list(find_residuals(Res2Net(depth=50)))
    assert len(found) == 16 and all("adds its input" in f.reason for f in found)


@pytest.mark.parametrize("package", ["mmdet", "mmseg"])
def test_the_zoos_blocks_are_found(package):
    pytest.importorskip(package)
    if package == "mmdet":
        from mmdet.models.backbones import ResNet, ResNeXt

        nets = [ResNet(18), ResNet(50), ResNet(50, style="caffe"),
                ResNeXt(depth=50, groups=32, base_width=4)]  # fmt: skip
        counts = [8, 16, 16, 16]
    else:
        from mmseg.models.backbones import MobileNetV2, ResNetV1c, ResNetV1d

        dilated = dict(dilations=(1, 1, 2, 4), strides=(1, 2, 1, 1), contract_dilation=True)
        nets = [ResNetV1c(depth=50, **dilated), ResNetV1d(depth=50), MobileNetV2()]
        counts = [16, 16, 10]
    for net, count in zip(nets, counts):
        found = list(find_residuals(net))
        assert [f.reason for f in found] == [""] * count


def test_darknets_blocks_are_found_and_convolutions_in_a_row_are_not():
    pytest.importorskip("mmdet")
    from mmdet.models.backbones import CSPDarknet
    from mmdet.models.backbones.darknet import ResBlock
    from mmdet.models.layers.csp_layer import DarknetBottleneck

    assert [f.reason for f in find_residuals(ResBlock(8))] == [""]
    assert [f.reason for f in find_residuals(DarknetBottleneck(8, 8))] == [""]
    assert not list(find_residuals(DarknetBottleneck(8, 8, add_identity=False)))
    (apart,) = find_residuals(DarknetBottleneck(8, 8, use_depthwise=True))
    assert "conv2 (DepthwiseSeparableConvModule)" in apart.reason
    net = CSPDarknet(widen_factor=0.125, deepen_factor=0.33)
    assert [f.reason for f in find_residuals(net)] == [""] * 7


def test_blocks_that_their_network_does_not_call_are_refused():
    block = Basic()
    block.bypassed = "the network runs its layers"
    assert only(block).reason == block.bypassed


def test_deformable_convolutions_and_plugins_are_refused_by_name():
    pytest.importorskip("mmdet")
    from mmdet.models.backbones import ResNet

    dcn = dict(type="DCNv2", deform_groups=1, fallback_on_stride=False)
    net = ResNet(50, dcn=dcn, stage_with_dcn=(False, False, False, True))
    reasons = [f.reason for f in find_residuals(net)]
    assert reasons[:13] == [""] * 13 and all("ModulatedDeformConv2d" in r for r in reasons[13:])
    plugin = dict(cfg=dict(type="ContextBlock", ratio=0.25), position="after_conv3")
    plugin["stages"] = (False, False, False, True)
    net = ResNet(50, plugins=[plugin])
    reasons = [f.reason for f in find_residuals(net)]
    assert reasons[:13] == [""] * 13 and all("context_block" in r for r in reasons[13:])
