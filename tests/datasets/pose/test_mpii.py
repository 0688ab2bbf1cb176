"""MPII's entries, counted from one, with a scale of 200 px."""

import json

import numpy as np
import pytest

from mmdyn.datasets.pose import MpiiDataset

ENTRY = dict(
    image="a.jpg",
    center=[101, 51],
    scale=0.5,
    joints=[[k + 1, 2 * k + 1] for k in range(16)],
    joints_vis=[1] * 15 + [0],
)


def load(folder, entries, **options):
    (folder / "mpii.json").write_text(json.dumps(entries))
    return MpiiDataset(
        data_root=str(folder), ann_file="mpii.json", data_prefix=dict(img="images"), **options
    )


def test_centre_scale_and_joints_by_hand(tmp_path):
    item = load(tmp_path, [ENTRY]).get_data_info(0)
    # Centre (100, 50 + 15 * 0.5), square of 100 px before the padding of 1.25.
    assert item["bbox"][0].tolist() == [50, 7.5, 150, 107.5]
    assert item["keypoints"][0, 3].tolist() == [3, 6]
    assert item["keypoints_visible"][0].tolist() == [1] * 15 + [0]


def test_head_lengths_are_six_tenths_of_the_diagonal(tmp_path):
    from scipy.io import savemat

    boxes = np.zeros((2, 2, 2))
    boxes[1, :, 0], boxes[1, :, 1] = [30, 40], [6, 8]
    savemat(tmp_path / "gt.mat", dict(headboxes_src=boxes))
    dataset = load(tmp_path, [ENTRY, ENTRY], headbox_file="gt.mat")
    assert [dataset.get_data_info(k)["head_size"] for k in range(2)] == pytest.approx([30, 6])
    with pytest.raises(ValueError, match="one split"):
        load(tmp_path, [ENTRY], headbox_file="gt.mat")
    with pytest.raises(FileNotFoundError, match="PCKh"):
        load(tmp_path, [ENTRY], headbox_file="no.mat")


def test_people_without_joints_are_of_the_test_set(tmp_path):
    entry = {k: ENTRY[k] for k in ("image", "center", "scale")}
    item = load(tmp_path, [entry], test_mode=True).get_data_info(0)
    assert not item["keypoints_visible"].any() and item["keypoints"].shape == (1, 16, 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(scale=float("nan")), "box of finite numbers for a person of a.jpg"),
        (dict(center=[float("nan"), 3]), "box of finite numbers for a person of a.jpg"),
        (dict(scale="large"), "for the scale of entry 0"),
        (dict(center=[1]), "expected 2 numbers for the center of entry 0"),
        (dict(joints=[[1, 2, 3]]), "expected n x 2 numbers for the joints of entry 0"),
    ],
)
def test_broken_entries_are_refused(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said + r".*mpii\.json"):
        load(tmp_path, [{**ENTRY, **changes}])


def test_joints_without_flags_are_refused(tmp_path):
    entry = {k: v for k, v in ENTRY.items() if k != "joints_vis"}
    with pytest.raises(ValueError, match=r"joints_vis in entry 0 of .*mpii\.json"):
        load(tmp_path, [entry])
