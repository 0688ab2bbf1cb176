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
    path.write_text('{"images": []}')
    with pytest.raises(ValueError, match="annotations"):
        load(path)
