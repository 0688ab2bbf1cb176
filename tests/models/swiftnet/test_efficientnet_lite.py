"""The published sizes, and the maps that the decoder takes."""

import pytest
import torch

pytest.importorskip("mmcv")

from mmdyn.models.swiftnet import EfficientNetLite
from mmdyn.models.swiftnet.efficientnet_lite import InvertedResidual


def parameters_with_classifier(variant: str) -> int:
    """Of the whole network: a 1x1 convolution to 1280 with its norm, and 1000 classes."""
    net = EfficientNetLite(variant)
    last = net.stages[-1][-1].layers.project.conv.out_channels
    head = last * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    return head + sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    "variant, millions", [("lite0", 4.7), ("lite1", 5.4), ("lite2", 6.1), ("lite4", 13.0)]
)
def test_parameters_are_those_that_are_published(variant, millions):
    assert parameters_with_classifier(variant) / 1e6 == pytest.approx(millions, abs=0.06)


def test_maps_are_the_last_of_each_size():
    maps = EfficientNetLite().eval()(torch.randn(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (24, 16, 24), (40, 8, 12), (112, 4, 6), (320, 2, 3),
    ]  # fmt: skip


def test_depth_grows_between_the_first_and_the_last_stage_only():
    blocks = [len(stage) for stage in EfficientNetLite("lite1").stages]
    assert blocks == [1, 3, 3, 4, 4, 5, 1]


def test_the_input_is_added_where_it_fits():
    norm_cfg = dict(type="BN")
    x = torch.randn(2, 8, 6, 6)
    for out, stride, fits in ((8, 1, True), (8, 2, False), (16, 1, False)):
        block = InvertedResidual(8, out, 3, stride, 6, norm_cfg).eval()
        expected = block.layers(x) + (x if fits else 0)
        torch.testing.assert_close(block(x), expected)


def test_refusals():
    with pytest.raises(ValueError, match="unknown variant 'lite9'; choose one of lite0, lite1"):
        EfficientNetLite("lite9")
    with pytest.raises(ValueError, match="the stages are 0 to 6"):
        EfficientNetLite(out_indices=(1, 7))
