"""OKS precision: perfect poses, lost ones, and one by the formula."""

import json

import numpy as np
import pytest

from mmdyn.datasets.pose import CocoKeypointDataset
from mmdyn.metrics.coco_keypoint import CocoKeypointMetric

SIDE = 100.0


@pytest.fixture
def people(tmp_path):
    """Two people in two images, and the file that says so."""
    rng = np.random.default_rng(0)
    joints = rng.uniform(0, SIDE, (2, 17, 2))
    content = dict(
        images=[dict(id=k, file_name=f"{k}.png", width=200, height=200) for k in (1, 2)],
        categories=[dict(id=1, name="person")],
        annotations=[
            dict(
                id=k + 1, image_id=k + 1, category_id=1, bbox=[0, 0, SIDE, SIDE], area=SIDE**2,
                iscrowd=0, num_keypoints=17,
                keypoints=np.column_stack([xy, np.full(17, 2)]).ravel().tolist(),
            )
            for k, xy in enumerate(joints)
        ],
    )  # fmt: skip
    path = tmp_path / "people.json"
    path.write_text(json.dumps(content))
    return joints, str(path)


def evaluate(joints, path):
    metric = CocoKeypointMetric(path)
    metric.dataset_meta = CocoKeypointDataset.METAINFO
    samples = [
        dict(
            img_id=k + 1,
            pred_instances=dict(keypoints=xy[None], keypoint_scores=np.full((1, len(xy)), 0.9)),
        )
        for k, xy in enumerate(joints)
    ]
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def test_true_poses_score_one(people):
    scores = evaluate(*people)
    assert scores["coco/AP"] == pytest.approx(1) and scores["coco/AR"] == pytest.approx(1)


def test_similarity_is_that_of_the_formula(people):
    joints, path = people
    sigmas = np.array(CocoKeypointDataset.METAINFO["sigmas"])
    # exp(-d^2 / (2 area (2 sigma)^2)) = 0.72 at every joint: thresholds 0.5 to 0.7 are met.
    away = np.sqrt(-2 * np.log(0.72) * SIDE**2 * (2 * sigmas) ** 2)
    moved = joints + np.stack([away, np.zeros(17)], 1)
    scores = evaluate(moved, path)
    assert scores["coco/AP"] == pytest.approx(0.5)
    assert scores["coco/AP .5"] == pytest.approx(1) and scores["coco/AP .75"] == 0


def test_lost_poses_score_nothing(people):
    assert evaluate(people[0] + 1000, people[1])["coco/AP"] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_poses_of_no_numbers_score_nothing(people, value):
    assert evaluate(np.full_like(people[0], value), people[1])["coco/AP"] == 0


def test_people_without_a_count_of_joints_count(people):
    joints, path = people
    with open(path) as file:
        content = json.load(file)
    for person in content["annotations"]:
        del person["num_keypoints"]
    with open(path, "w") as file:
        json.dump(content, file)
    assert evaluate(joints, path)["coco/AP"] == pytest.approx(1)


def test_nobody_found_scores_nothing(people):
    metric = CocoKeypointMetric(people[1])
    assert set(metric.compute_metrics([]).values()) == {0.0}


def test_wrong_numbers_of_joints_and_missing_files_are_refused(people, tmp_path):
    with pytest.raises(ValueError, match="out_channels"):
        evaluate(people[0][:, :14], people[1])
    with pytest.raises(FileNotFoundError, match="json"):
        CocoKeypointMetric(str(tmp_path / "no.json"))
