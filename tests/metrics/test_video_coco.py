"""COCO's scores over labelled frames, labels by name, AP50 of a class."""

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet.evaluation")

from mmdet.datasets import CocoDataset
from mmdet.evaluation.metrics import CocoMetric

from mmdyn.datasets.coco_writer import CocoVideoWriter, run_lengths
from mmdyn.metrics.video_coco import VideoCocoMetric
from mmdyn.registry import METRICS

BOXES = [(4, 4, 20, 30), (40, 10, 15, 20)]
TWO = dict(classes=("car", "person"))


@pytest.fixture
def video(tmp_path):
    """Three frames with a person and a car; nobody labelled the second."""
    coco = CocoVideoWriter({9: "person", 4: "car"})
    coco.add_video("a", (64, 64), 3, 10.0)
    for frame in range(3):
        coco.add_image(f"{frame}.png", frame, labelled=frame != 1)
        for instance, (category, box) in enumerate(zip((9, 4), BOXES, strict=True)):
            if frame != 1:
                mask = np.zeros((64, 64), bool)
                mask[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = True
                coco.add_object(category, instance, box, box[2] * box[3], run_lengths(mask))
    path = tmp_path / "val.json"
    coco.save(str(path))
    return str(path)


def found(img_id: int, labels, boxes=BOXES, masks: bool = False) -> dict:
    boxes = torch.tensor([(x, y, x + w, y + h) for x, y, w, h in boxes], dtype=torch.float32)
    boxes = boxes[: len(labels)].reshape(-1, 4)
    pred = dict(bboxes=boxes, scores=torch.linspace(0.9, 0.5, len(labels)),
                labels=torch.tensor(labels, dtype=torch.long))  # fmt: skip
    if masks:
        grid = torch.zeros(len(labels), 64, 64, dtype=torch.bool)
        for k, (x1, y1, x2, y2) in enumerate(boxes.int().tolist()):
            grid[k, y1:y2, x1:x2] = True
        pred["masks"] = grid
    return dict(img_id=img_id, ori_shape=(64, 64), pred_instances=pred)


def scores_of(path, samples, meta=TWO, **kwargs) -> dict:
    metric = METRICS.build(dict(type="mmdyn.VideoCocoMetric", ann_file=path, **kwargs))
    assert isinstance(metric, VideoCocoMetric)
    metric.dataset_meta = meta
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples))


def test_a_perfect_detector_scores_one_whatever_it_says_of_unlabelled_frames(video):
    samples = [found(1, [1, 0]), found(2, [0, 1]), found(3, [1, 0])]
    scores = scores_of(video, samples, metric=["bbox"], ap50_classes=("person", "car"))
    assert scores["coco/bbox_mAP"] == 1 and scores["coco/bbox_person_AP50"] == 1
    assert scores["coco/bbox_car_AP50"] == 1


def test_scores_equal_the_stock_metrics_on_the_labelled_frames(video):
    meta = dict(classes=("person", "car"))  # in the json's order, which the stock metric needs
    stock = CocoMetric(ann_file=video, metric=["bbox", "segm"])
    stock.dataset_meta = meta
    samples = [found(1, [0, 1], masks=True), found(3, [1, 1], masks=True)]
    stock.process({}, samples)
    ours = scores_of(
        video, [samples[0], found(2, [1, 1], masks=True), samples[1]], meta,
        metric=["bbox", "segm"], ap50_classes=("person",),
    )  # fmt: skip
    theirs = stock.evaluate(2)
    assert {key: ours[key] for key in theirs} == theirs
    assert ours["coco/bbox_person_AP50"] == ours["coco/segm_person_AP50"]
    assert 0.4 < ours["coco/bbox_person_AP50"] < 0.6


def test_a_detector_of_cocos_classes_is_measured_on_those_of_the_json(video):
    classes = CocoDataset.METAINFO["classes"]
    person, car, dog = (classes.index(name) for name in ("person", "car", "dog"))
    samples = [found(1, [person, car]), found(2, [dog]), found(3, [person, car])]
    samples[0]["pred_instances"]["labels"][1] = dog
    scores = scores_of(video, samples, CocoDataset.METAINFO, ap50_classes=("person", "car"))
    assert scores["coco/bbox_person_AP50"] == 1
    assert 0.4 < scores["coco/bbox_car_AP50"] < 0.6


def test_nothing_found_scores_zero(video):
    empty = [found(1, []), found(3, [])]
    scores = scores_of(video, empty, ap50_classes=("person",))
    assert scores["coco/bbox_person_AP50"] == 0


def test_ground_truth_from_the_samples():
    metric = VideoCocoMetric()
    metric.dataset_meta = TWO
    truth = [dict(bbox=[4, 4, 24, 34], bbox_label=1, ignore_flag=0)]
    labelled = {**found(1, [1]), "instances": truth}
    metric.process({}, [labelled])
    metric.process({}, [found(2, [1])])
    metric.process({}, [{**found(3, [1]), "instances": [], "labelled": False}])
    assert metric.evaluate(3)["coco/bbox_mAP"] == 1


def test_what_cannot_be_measured_is_named(video):
    with pytest.raises(ValueError, match=r"has \['dog'\], but the categories .* person, car"):
        VideoCocoMetric(ann_file=video, ap50_classes=("dog",))
    with pytest.raises(ValueError, match="saw no labelled frame"):
        scores_of(video, [found(2, [1])])
    with pytest.raises(ValueError, match=r"none of the json's categories \(person, car\)"):
        scores_of(video, [found(1, [0])], dict(classes=("tree",)))
