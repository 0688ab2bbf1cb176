"""VGG of stride 8: shapes, torchvision's layer numbers, what is frozen."""

import pytest

pytest.importorskip("mmcv.cnn")

import torch
from torch import nn

from mmdyn.models.mgan.vgg import PlainVGG

# Where torchvision's vgg16 has its convolutions.
CONVS = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]


def test_a_vgg16_has_stride_8_and_the_usual_layers():
    net = PlainVGG(depth=16)
    assert (net.stride, net.out_channels) == (8, 512)
    layers = list(net.features)
    assert [k for k, x in enumerate(layers) if isinstance(x, nn.Conv2d)] == CONVS
    assert [k for k, x in enumerate(layers) if isinstance(x, nn.MaxPool2d)] == [4, 9, 16]
    assert sum(p.numel() for p in net.parameters()) == 14_714_688
    with torch.device("meta"):
        net = PlainVGG(depth=16)
        (out,) = net(torch.empty(1, 3, 1024, 2048))
    assert out.shape == (1, 512, 128, 256)


def test_poolings_and_width_are_chosen():
    net = PlainVGG(depth=11, base_channels=4, pools=(True, True, True, True, False), with_bn=True)
    (out,) = net(torch.randn(2, 3, 32, 48))
    assert out.shape == (2, 32, 2, 3) and net.stride == 16


def test_frozen_stages_and_statistics_do_not_learn():
    net = PlainVGG(depth=11, base_channels=4, with_bn=True, frozen_stages=2, norm_eval=True)
    net.train()
    (out,) = net(torch.randn(2, 3, 32, 32))
    out.sum().backward()
    frozen = net.ends[1]
    for k, layer in enumerate(net.features):
        if isinstance(layer, nn.Conv2d):
            assert (layer.weight.grad is None) == (k < frozen)
        if isinstance(layer, nn.BatchNorm2d):
            assert not layer.training and layer.num_batches_tracked == 0


def test_unknown_depths_and_stages_are_refused():
    for wrong in (dict(depth=12), dict(pools=(True,)), dict(frozen_stages=6)):
        with pytest.raises(ValueError):
            PlainVGG(**wrong)
