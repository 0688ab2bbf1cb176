"""What all datasets of people check."""

import json

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


@pytest.mark.parametrize("content", ["{", '[{"file": "a.png"', b"\xff\xfe".decode("latin1")])
@pytest.mark.parametrize("kind", [CocoKeypointDataset, LspetDataset, MpiiDataset])
def test_broken_annotations_are_named(tmp_path, kind, content):
    (tmp_path / "x.json").write_bytes(content.encode("latin1"))
    with pytest.raises(ValueError, match=r"x\.json is not a json file .*is it whole"):
        kind(data_root=str(tmp_path), ann_file="x.json")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (CocoKeypointDataset, {"images": [], "annotations": []}),
        (LspetDataset, []),
        (MpiiDataset, []),
    ],
)
def test_a_dataset_of_nobody_is_refused(tmp_path, kind, content):
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"people in .*x\.json, got none that {kind.__name__}"):
        kind(data_root=str(tmp_path), ann_file="x.json")


@pytest.mark.parametrize("kind", [LspetDataset, MpiiDataset])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"images": []}, r"expected a list of people in .*x\.json, got a dict"),
        ([{"images": []}], r"in entry 0 of .*x\.json, got \['images'\]; is it another"),
        (["people"], r"in entry 0 of .*x\.json, got str; is it another"),
    ],
)
def test_another_datasets_annotations_are_refused(tmp_path, kind, content, said):
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said):
        kind(data_root=str(tmp_path), ann_file="x.json")


def test_missing_annotations_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="ann_file"):
        LspetDataset(data_root=str(tmp_path), ann_file="joints.json")
