"""The miss rate as a metric of detectors: labels by name, labelled frames alone."""

import json
import math

import pytest
import torch

from mmdyn.metrics.miss_rate import MissRateMetric, chosen_subsets, load_truths
from mmdyn.registry import METRICS

BOX = [10.0, 10.0, 40.0, 100.0]


def annotations(images: int = 2, **extra) -> dict:
    """Images with one person each; the second's is hidden to a half."""
    people = [
        dict(id=k, image_id=k, category_id=1, bbox=BOX, height=100.0, ignore=0, vis_ratio=1.0)
        for k in range(1, images + 1)
    ]
    people[-1]["vis_ratio"] = 0.5
    return dict(
        images=[dict(id=k, **extra) for k in range(1, images + 1)],
        annotations=people,
        categories=[dict(id=1, name="pedestrian")],
    )


@pytest.fixture
def ann_file(tmp_path):
    path = tmp_path / "val.json"
    path.write_text(json.dumps(annotations()))
    return str(path)


def sample(img_id: int, labels=(0,), box=BOX) -> dict:
    x, y, w, h = box
    return dict(
        img_id=img_id,
        pred_instances=dict(
            bboxes=torch.tensor([[x, y, x + w, y + h]] * len(labels)).reshape(-1, 4),
            scores=torch.linspace(0.9, 0.5, len(labels)),
            labels=torch.tensor(labels, dtype=torch.long),
        ),
    )


def scores(ann_file: str, *samples, classes=("pedestrian",), **kwargs) -> dict:
    metric = METRICS.build(dict(type="mmdyn.MissRateMetric", ann_file=ann_file, **kwargs))
    assert isinstance(metric, MissRateMetric)
    metric.dataset_meta = dict(classes=classes)
    for one in samples:
        metric.process({}, [one])
    return metric.evaluate(len(samples))


def test_subsets_are_by_visibility_and_images_without_prediction_count(ann_file):
    found = scores(ann_file, sample(1))
    assert found["miss_rate/Reasonable"] == 0.0 and found["miss_rate/Heavy"] == 1.0
    assert found["miss_rate/All"] == pytest.approx(0.5)
    assert math.isnan(found["miss_rate/Small"])
    assert set(found) == {
        f"miss_rate/{x}" for x in ("Reasonable", "Small", "Heavy", "All", "Bare", "Partial")
    }


def test_classes_are_matched_by_name(ann_file):
    classes = ("car", "pedestrian")
    both = (sample(1, (0, 1)), sample(2, (0,)))
    assert scores(ann_file, *both, classes=classes)["miss_rate/All"] == pytest.approx(0.5)
    of_cars = scores(ann_file, sample(1, (1,)), classes=classes, label="car")
    assert of_cars["miss_rate/All"] == 1.0
    with pytest.raises(ValueError, match="expected class 'pedestrian' among"):
        scores(ann_file, sample(1), classes=("car", "person"))


def test_frames_that_nobody_labelled_are_skipped(tmp_path):
    content = annotations(3)
    content["images"][1]["labelled"] = False
    path = tmp_path / "clip.json"
    path.write_text(json.dumps(content))
    wrong = [0, 0, 20, 60]
    found = scores(str(path), sample(1), sample(2, box=wrong), sample(-4, box=wrong), sample(3))
    assert found["miss_rate/All"] == 0.0
    with pytest.raises(ValueError, match="no labelled image"):
        scores(str(path), sample(2))


def test_own_subsets_and_unknown_ones(ann_file):
    own = dict(Hidden=dict(height=(50, 200), visibility=(0, 0.6)))
    assert scores(ann_file, sample(2), subsets=own) == {"miss_rate/Hidden": 0.0}
    assert list(chosen_subsets("Heavy")) == ["Heavy"]
    with pytest.raises(ValueError, match="unknown subsets .*Reasonable"):
        chosen_subsets(["Heavyy"])
    for none in ((), {}):
        with pytest.raises(ValueError, match="unknown subsets none"):
            chosen_subsets(none)
    for wrong in (dict(height=(50, 75)), dict(height=(50,), visibility=(0, 1)), "Heavy"):
        with pytest.raises(ValueError, match="subset 'Own': expected dict"):
            chosen_subsets(dict(Own=wrong))


@pytest.mark.parametrize("limits", [dict(iou=50), dict(iou=float("nan")), dict(max_dets=0)])
def test_limits_that_mean_nothing_are_refused(ann_file, limits):
    with pytest.raises(ValueError, match="expected max_dets >= 1 and 0 < iou <= 1"):
        scores(ann_file, **limits)


def test_predictions_that_are_no_numbers_are_refused(ann_file):
    wrong = sample(2)
    wrong["pred_instances"]["scores"][0] = float("nan")
    with pytest.raises(ValueError, match="image 2 .*no finite numbers"):
        scores(ann_file, sample(1), wrong)


def test_most_detections_an_image(ann_file):
    found = scores(ann_file, sample(1, (0,) * 5), sample(2), max_dets=1, subsets=["All"])
    assert found["miss_rate/All"] == 0.0


def test_what_a_file_lacks_is_taken_from_its_boxes(tmp_path):
    people = [
        dict(id=1, image_id=7, category_id=3, bbox=BOX, vis_bbox=[10, 10, 40, 50]),
        dict(id=2, image_id=7, category_id=3, bbox=BOX, iscrowd=1),
    ]
    content = dict(images=[dict(id=7)], annotations=people, categories=[dict(id=3, name="person")])
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    annotated = load_truths(str(path))
    truth = annotated.truths[7]
    assert annotated.category_id == 3 and annotated.category == "person"
    assert truth.visible.tolist() == [0.5, 1.0] and truth.heights.tolist() == [100, 100]
    assert truth.ignored.tolist() == [False, True]


def test_wrong_annotations_are_refused(tmp_path):
    path = tmp_path / "wrong.json"
    for content, words in (
        ([1, 2], "COCO-style dict"),
        (dict(images=[], annotations=[], categories=[dict(id=1, name="a")]), "no labelled image"),
        ({**annotations(), "categories": [dict(id=2, name="a"), dict(id=3)]}, "with id 1"),
        ({**annotations(), "annotations": [dict(image_id=1, category_id=1)]}, "with 'bbox'"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=words):
            load_truths(str(path))
    path.write_text("{")
    with pytest.raises(ValueError, match="not a json file"):
        load_truths(str(path))
