"""The whole way from a file to what the model takes, and back to the file's joints."""

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose

from mmdyn.datasets.pose import GenerateTarget, LspetDataset
from mmdyn.registry import KEYPOINT_CODECS

CODEC = dict(type="MSRAHeatmap", input_size=(64, 64), heatmap_size=(32, 32), sigma=2, unbiased=True)
STEPS = [
    dict(type="LoadImageFromFile"),
    dict(type="mmdyn.GetBBoxCenterScale", padding=1.5),
    dict(type="mmdyn.TopdownAffine", input_size=(64, 64)),
    dict(type="mmdyn.GenerateTarget", encoder=CODEC),
    dict(type="mmdyn.PackPoseInputs"),
]


def test_targets_decode_to_the_joints_of_the_image(people, tmp_path):
    people.lspet(tmp_path)
    dataset = LspetDataset(
        data_root=str(tmp_path), ann_file="joints.json", data_prefix=dict(img="images"),
        pipeline=STEPS,
    )  # fmt: skip
    packed = dataset[0]
    sample = packed["data_samples"]
    assert packed["inputs"].shape == (3, 64, 64) and packed["inputs"].dtype == torch.uint8
    joints, _ = KEYPOINT_CODECS.build(CODEC).decode(sample.gt_fields.heatmaps[None])
    scale, center = np.array(sample.input_scale), np.array(sample.input_center)
    found = joints[0].numpy() / 64 * scale + center - scale / 2
    assert np.abs(found - sample.gt_instances.keypoints[0].numpy()).max() < 0.05
    assert sample.gt_instance_labels.keypoint_weights.shape == (1, 14)
    assert sample.flip_indices[0] == 5


def test_another_crop_than_the_codecs_is_refused():
    with pytest.raises(ValueError, match="codec's input_size"):
        GenerateTarget(CODEC)(dict(input_size=(32, 32)))


def test_steps_are_registered():
    assert len(Compose(STEPS).transforms) == len(STEPS)
