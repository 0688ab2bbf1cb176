"""Crops stay inside the padded image; packing keeps pixels and labels."""

import numpy as np
import pytest
import torch

from mmdyn.datasets.classification import PackInputs, RandomCrop


def test_crops_are_windows_of_the_padded_image():
    image = np.random.randint(1, 256, (8, 8, 3), np.uint8)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    seen = set()
    for _ in range(200):
        crop = RandomCrop(8, padding=2)(dict(img=image))["img"]
        places = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if np.array_equal(padded[y : y + 8, x : x + 8], crop)
        ]
        assert len(places) == 1
        seen |= set(places)
    assert len(seen) == 25


def test_too_large_a_crop_is_refused():
    with pytest.raises(ValueError, match="exceeds"):
        RandomCrop(20, padding=2)(dict(img=np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(ValueError, match="padding"):
        RandomCrop(8, padding=-1)


def test_packing_keeps_pixels_label_and_facts():
    image = np.random.randint(0, 256, (4, 5, 3), np.uint8)
    packed = PackInputs()(dict(img=image, gt_label=7, ori_shape=(4, 5)))
    assert packed["inputs"].dtype == torch.uint8
    assert np.array_equal(packed["inputs"].numpy().transpose(1, 2, 0), image)
    assert packed["data_samples"].gt_label.tolist() == [7]
    assert packed["data_samples"].ori_shape == (4, 5)


def test_an_unlabelled_image_is_packed_too():
    assert "gt_label" not in PackInputs()(dict(img=np.zeros((4, 4, 3), np.uint8)))["data_samples"]
