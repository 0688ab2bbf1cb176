"""People of the extended Leeds Sports Pose set."""

import json

import numpy as np
import pytest

from mmdyn.datasets.pose import LspetDataset


def load(folder, **options):
    return LspetDataset(
        data_root=str(folder), ann_file="joints.json", data_prefix=dict(img="images"), **options
    )


def test_people_of_a_split_with_their_joints_and_boxes(people, tmp_path):
    entries = people.lspet(tmp_path)
    dataset = load(tmp_path, split="test")
    assert len(dataset) == 2
    item, joints = dataset.get_data_info(0), np.array(entries[1]["joints"], np.float32)
    assert item["img_path"].endswith("images/im1.png")
    assert np.array_equal(item["keypoints"][0], joints[:, :2])
    assert np.allclose(item["bbox"][0], [*joints[:, :2].min(0), *joints[:, :2].max(0)])


def test_joints_outside_the_image_are_not_used(people, tmp_path):
    entries = people.lspet(tmp_path)
    entries[0]["joints"][3][:2] = [-4, 20]
    entries[0]["joints"][4][2] = 0
    for joint in entries[2]["joints"][1:]:
        joint[2] = 0
    (tmp_path / "joints.json").write_text(json.dumps(entries))
    dataset = load(tmp_path)
    assert len(dataset) == 1  # the one with a single joint is left out
    visible = dataset.get_data_info(0)["keypoints_visible"][0]
    assert visible[3] == visible[4] == 0 and visible.sum() == 12


def test_wrong_files_and_splits_are_refused(people, tmp_path):
    entries = people.lspet(tmp_path)
    with pytest.raises(ValueError, match="'train' or 'test'"):
        load(tmp_path, split="val")
    for entry in entries:
        entry["joints"] = entry["joints"][:13]
    (tmp_path / "joints.json").write_text(json.dumps(entries))
    with pytest.raises(ValueError, match="expected 14 joints"):
        load(tmp_path)


def test_the_real_people(data_root):
    if not (data_root / "lspet").is_dir():
        pytest.skip("no lspet/ in the data folder")
    assert [len(load(data_root / "lspet", split=s)) for s in ("train", "test")] == [1000, 250]
