"""Joints survive the way to heatmaps and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdyn.models.pose import MSRAHeatmap

place = st.floats(8, 247, allow_nan=False, width=32)


def there_and_back(codec, joints):
    heatmaps = codec.encode(np.array([joints], np.float32))["heatmaps"]
    return codec.decode(torch.from_numpy(heatmaps)[None])


@given(st.lists(st.tuples(place, place), min_size=1, max_size=4))
def test_unbiased_joints_come_back_to_a_hundredth_of_a_pixel(joints):
    codec = MSRAHeatmap((256, 256), (64, 64), 2, unbiased=True)
    found, scores = there_and_back(codec, joints)
    assert np.abs(found[0].numpy() - np.array(joints)).max() < 0.04  # 0.01 px of the heatmap
    assert float(scores.min()) > 0.9


@given(st.lists(st.tuples(place, place), min_size=1, max_size=4))
def test_rounded_joints_come_back_to_half_a_heatmap_pixel(joints):
    codec = MSRAHeatmap((256, 256), (64, 64), 2)
    found, _ = there_and_back(codec, joints)
    assert np.abs(found[0].numpy() - np.array(joints)).max() <= 2.001


def test_the_quarter_goes_to_the_higher_neighbour():
    heatmap = torch.zeros(1, 1, 8, 8)
    heatmap[0, 0, 3, 4] = 1.0
    heatmap[0, 0, 3, 5] = heatmap[0, 0, 2, 4] = 0.5
    found, score = MSRAHeatmap((32, 32), (8, 8), 1).decode(heatmap)
    assert found[0, 0].tolist() == [4.25 * 4, 2.75 * 4] and float(score) == 1.0


def test_oblong_sizes_keep_their_axes():
    codec = MSRAHeatmap((192, 256), (48, 64), 2, unbiased=True)
    found, _ = there_and_back(codec, [(30.0, 200.0)])
    assert found[0, 0].tolist() == pytest.approx([30, 200], abs=0.04)


def test_peaks_on_the_border_are_read_without_neighbours():
    heatmap = torch.zeros(1, 2, 8, 8)
    heatmap[0, 0, 0, 0] = heatmap[0, 1, 7, 7] = 1.0
    found, _ = MSRAHeatmap((8, 8), (8, 8), 1, unbiased=True).decode(heatmap)
    assert found[0].tolist() == [[0, 0], [7, 7]]


def test_hidden_and_far_joints_weigh_nothing():
    codec = MSRAHeatmap((64, 64), (16, 16), 2)
    joints = np.array([[[20, 20], [30, 30], [900, 10], [-20, 20]]], np.float32)
    out = codec.encode(joints, np.array([[1, 0, 1, 1]], np.float32))
    assert out["keypoint_weights"].tolist() == [[1, 0, 0, 1]]
    assert not out["heatmaps"][1:3].any() and out["heatmaps"][3].any()
    assert out["heatmaps"][0].max() == 1.0


def test_a_gaussian_has_its_width():
    heatmap = MSRAHeatmap((64, 64), (64, 64), 2).encode(np.array([[[32, 32]]]))["heatmaps"][0]
    assert heatmap[32, 34] == pytest.approx(np.exp(-0.5)) and heatmap[30, 32] == heatmap[32, 34]


def test_impossible_codecs_are_refused():
    with pytest.raises(ValueError, match="sigma"):
        MSRAHeatmap((64, 64), (16, 16), 0)
    with pytest.raises(ValueError, match="heatmap"):
        MSRAHeatmap((64, 64), (2, 16), 2)
