"""What all datasets of people check."""

import pytest

from mmdyn.datasets.pose import CocoKeypointDataset, LspetDataset, MpiiDataset
from mmdyn.datasets.pose.base import mirrored


@pytest.mark.parametrize("kind", [CocoKeypointDataset, LspetDataset, MpiiDataset])
def test_mirroring_twice_changes_nothing_and_swaps_sides(kind):
    names, flip = kind.METAINFO["keypoint_names"], kind.METAINFO["flip_indices"]
    assert [flip[flip[k]] for k in range(len(names))] == list(range(len(names)))
    for k, name in enumerate(names):
        other = names[flip[k]]
        assert ("left" in name) == ("right" in other) and ("right" in name) == ("left" in other)
    for first, second in kind.METAINFO["torso"]:
        pair = {names[first].split("_")[1], names[second].split("_")[1]}
        assert pair == {"shoulder", "hip"}
        assert names[first].split("_")[0] != names[second].split("_")[0]


def test_mirrored_by_hand():
    assert mirrored(["nose", "left_eye", "right_eye"]) == (0, 2, 1)


def test_missing_annotations_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="ann_file"):
        LspetDataset(data_root=str(tmp_path), ann_file="joints.json")
