"""COCO's people: who is kept, and their boxes."""

import json

import numpy as np
import pytest

from mmdyn.datasets.pose import CocoKeypointDataset


def joints(visible=2):
    return np.column_stack([np.full(17, 30), np.full(17, 20), np.full(17, visible)])


def load(path, **options):
    return CocoKeypointDataset(
        data_root=str(path.parent), ann_file=path.name, data_prefix=dict(img="images"), **options
    )


def test_crowds_empty_boxes_and_unlabelled_people_are_left_out(people, tmp_path):
    path = people.coco(
        tmp_path,
        [
            (1, (-5, 10, 40, 30), joints(), {}),
            (1, (0, 0, 10, 10), joints(0), {}),
            (2, (90, 0, 10, 10), joints(), {}),
            (2, (0, 0, 20, 20), joints(), {}),
        ],
    )
    dataset = load(path)
    assert [dataset.get_data_info(k)["id"] for k in range(len(dataset))] == [1, 4]
    assert dataset.get_data_info(0)["bbox"].tolist() == [[0, 10, 35, 40]]
    assert [p["id"] for p in load(path, test_mode=True)] == [1, 2, 4]
    content = path.read_text().replace('"iscrowd": 0', '"iscrowd": 1', 1)
    path.write_text(content)
    assert [p["id"] for p in load(path)] == [4]


def test_labelled_but_hidden_joints_count_as_visible(people, tmp_path):
    path = people.coco(tmp_path, [(1, (0, 0, 40, 30), joints(1), {})])
    assert load(path).get_data_info(0)["keypoints_visible"].all()


def test_people_without_annotated_joints_are_of_the_test_set(people, tmp_path):
    path = people.coco(tmp_path, [(1, (0, 0, 40, 30), joints(), {})])
    content = json.loads(path.read_text())
    del content["annotations"][0]["keypoints"]
    path.write_text(json.dumps(content))
    (person,) = load(path, test_mode=True)
    assert person["keypoints"].shape == (1, 17, 2) and not person["keypoints_visible"].any()


def test_metainfo_replaces_the_joints(people, tmp_path):
    path = people.coco(tmp_path, [(1, (0, 0, 40, 30), joints()[:3], {})])
    names = dict(keypoint_names=("nose", "left_eye", "right_eye"), flip_indices=(0, 2, 1))
    (person,) = load(path, metainfo=names)
    assert person["keypoints"].shape == (1, 3, 2) and person["flip_indices"] == [0, 2, 1]


def test_another_json_is_refused(tmp_path):
    path = tmp_path / "x.json"
    for content, said in (
        ('{"images": []}', r"images, annotations in the json of .*x\.json, got \['images'\]"),
        ("[1]", r"images, annotations in the json of .*x\.json, got list"),
        ('{"images": [{"id": 1}], "annotations": []}', r"file_name, width, height in image 0 of"),
        ('{"images": [], "annotations": [{"id": 1}]}', r"id, image_id in annotation 0 of"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=said):
            load(path)


def changed(path, **changes):
    """The file with its first annotation changed."""
    content = json.loads(path.read_text())
    content["annotations"][0].update(changes)
    path.write_text(json.dumps(content))
    return path


def two(people, folder):
    return people.coco(folder, [(k, (0, 0, 40, 30), joints(), {}) for k in (1, 2)])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(bbox=None), "1 without bbox"),
        (dict(image_id=7), "1 of images that it does not list"),
    ],
)
def test_people_without_a_place_are_left_out_with_a_warning(
    people, tmp_path, caplog, changes, said
):
    path = changed(two(people, tmp_path), **changes)
    assert [p["id"] for p in load(path)] == [2]
    (record,) = [r for r in caplog.records if "left out" in r.message]
    assert said in record.message and str(path) in record.message


def test_crowds_need_no_box(people, tmp_path, caplog):
    path = changed(two(people, tmp_path), bbox=None, iscrowd=1)
    assert [p["id"] for p in load(path)] == [2] and "left out" not in caplog.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(bbox=[0, float("nan"), 9, 9]), "bbox of finite numbers in annotation 1 of"),
        (dict(bbox=[0, 0, float("inf"), 9]), "bbox of finite numbers in annotation 1 of"),
        (dict(bbox=[0, 0, 9]), "expected 4 numbers for the bbox of annotation 1"),
        (dict(bbox=["a", 0, 9, 9]), "expected 4 numbers for the bbox of annotation 1"),
        (dict(keypoints=[1, 2, 2, 5]), "expected n x 3 numbers for the keypoints of annotation 1"),
    ],
)
def test_broken_annotations_are_refused(people, tmp_path, changes, said):
    path = changed(two(people, tmp_path), **changes)
    with pytest.raises(ValueError, match=said + r".*people\.json"):
        load(path)
