"""Grids follow the map's aspect ratio; the result is that of the definition."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("mmcv")

from mmdyn.models.swiftnet import SpatialPyramidPooling


def build(**options):
    torch.manual_seed(0)
    norm_cfg = dict(type="BN", momentum=0.005)
    options = dict(grids=(4, 2), norm_cfg=norm_cfg) | options
    return SpatialPyramidPooling(16, 8, 3, 6, **options).eval()


def test_grids_follow_the_aspect_ratio(monkeypatch):
    seen = []
    pool = F.adaptive_avg_pool2d
    monkeypatch.setattr(F, "adaptive_avg_pool2d", lambda x, s: seen.append(s) or pool(x, s))
    net = build(grids=(8, 4, 2))
    assert net(torch.randn(1, 16, 12, 15)).shape == (1, 6, 12, 15)
    net(torch.randn(1, 16, 32, 64))
    net(torch.randn(1, 16, 32, 4))
    assert seen[:3] == [(8, 10), (4, 5), (2, 2)]
    assert seen[3:6] == [(8, 16), (4, 8), (2, 4)]
    assert seen[6:] == [(8, 1), (4, 1), (2, 1)]


def test_levels_are_added_at_the_maps_size():
    net, x = build(), torch.randn(2, 16, 8, 8)
    first = net.reduce.conv(F.relu(net.reduce.norm(x)))
    maps = [first]
    for rows, level in zip((4, 2), net.levels):
        small = level.conv(F.relu(level.norm(F.avg_pool2d(first, 8 // rows))))
        maps.append(F.interpolate(small, (8, 8), mode="bilinear", align_corners=False))
    expected = net.blend.conv(F.relu(net.blend.norm(torch.cat(maps, 1))))
    torch.testing.assert_close(net(x), expected)


def test_every_convolution_follows_its_norm_and_has_no_bias():
    net = build()
    for unit in [net.reduce, *net.levels, net.blend]:
        assert unit.conv.bias is None
        assert unit.norm.num_features == unit.conv.in_channels
        assert unit.norm.momentum == 0.005
