"""COCO video json: order, identities, labels by name."""

import json

import cv2
import numpy as np
import pytest

pytest.importorskip("mmdet.datasets")

from mmdet.datasets import CityscapesDataset, CocoDataset

from mmdyn.datasets.clip_sampler import clips_of
from mmdyn.datasets.coco_video import CocoVideoDataset
from mmdyn.datasets.coco_writer import CocoVideoWriter
from mmdyn.registry import DATASETS

PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="mmdet.Resize", scale=(32, 24), keep_ratio=True),
    dict(type="mmdet.LoadAnnotations", with_bbox=True),
    dict(type="mmdet.PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape")),
]


@pytest.fixture
def shuffled(tmp_path):
    """Two videos whose frames are in no order; car is the only category."""
    coco = CocoVideoWriter({5: "car"})
    for name in ("a", "b"):
        coco.add_video(name, (24, 32), 3, 10.0)
        for frame in (2, 0, 1):
            coco.add_image(f"{name}{frame}.png", frame, labelled=frame != 1)
            cv2.imwrite(str(tmp_path / f"{name}{frame}.png"), np.zeros((24, 32, 3), np.uint8))
            if frame != 1:
                coco.add_object(5, 7 + frame, (1, 2, 8, 9), 72.0)
    coco.images = [coco.images[k] for k in (3, 0, 1, 5, 4, 2)]
    coco.save(str(tmp_path / "val.json"))
    return tmp_path


def dataset_of(root, **kwargs) -> CocoVideoDataset:
    kwargs = dict(test_mode=True, pipeline=PIPELINE) | kwargs
    return CocoVideoDataset(data_root=str(root), ann_file="val.json", **kwargs)


def test_frames_are_sorted_and_know_their_video(shuffled):
    dataset = dataset_of(shuffled)
    frames = [dataset.get_data_info(k) for k in range(6)]
    order = [(frame["video_id"], frame["frame_id"]) for frame in frames]
    assert order == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    assert dataset.clips == clips_of(dataset) == [(0, 3), (3, 6)]
    assert frames[3]["img_path"].endswith("b0.png") and frames[3]["video_length"] == 3
    assert frames[2]["instances"][0]["instance_id"] == 9
    meta = dataset[4]["data_samples"].metainfo
    assert (meta["video_id"], meta["frame_id"], meta["video_length"]) == (2, 1, 3)


def test_labels_follow_the_names_of_the_categories(shuffled):
    sample = dataset_of(shuffled)[0]["data_samples"]
    car = CocoDataset.METAINFO["classes"].index("car")
    assert sample.gt_instances.labels.tolist() == [car]
    alone = dataset_of(shuffled, metainfo=dict(classes=("car",)))[0]["data_samples"]
    assert alone.gt_instances.labels.tolist() == [0]
    assert alone.gt_instances.bboxes.tensor[0].tolist() == [1, 2, 9, 11]


def test_training_keeps_labelled_frames(shuffled):
    training = dataset_of(shuffled, test_mode=False, filter_cfg=dict(filter_empty_gt=False))
    assert [training.get_data_info(k)["frame_id"] for k in range(len(training))] == [0, 2, 0, 2]
    content = json.loads((shuffled / "val.json").read_text())
    for image in content["images"]:
        image["labelled"] = False
    (shuffled / "val.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no labelled frame"):
        dataset_of(shuffled, test_mode=False)


def test_generated_clips_are_read_with_masks(street_root):
    pipeline = [*PIPELINE]
    pipeline[2] = dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True)
    dataset = DATASETS.build(
        dict(
            type="mmdyn.CocoVideoDataset", data_root=str(street_root),
            ann_file="annotations/instances_val.json",
            data_prefix=dict(img="leftImg8bit_sequence/val"),
            metainfo=dict(classes=CityscapesDataset.METAINFO["classes"]),
            pipeline=pipeline, test_mode=True,
        )
    )  # fmt: skip
    assert dataset.clips == [(0, 6), (6, 12)]
    found = dataset[4]["data_samples"].gt_instances
    assert len(found) > 0 and found.masks.masks.any(axis=(1, 2)).all()
    assert len(dataset[3]["data_samples"].gt_instances) == 0


def test_a_json_of_stills_is_refused(shuffled):
    content = json.loads((shuffled / "val.json").read_text())
    for image in content["images"]:
        del image["frame_id"]
    (shuffled / "val.json").write_text(json.dumps(content))
    with pytest.raises(KeyError, match="no 'frame_id'; write a COCO video json"):
        dataset_of(shuffled)
    (shuffled / "val.json").write_text(json.dumps({**content, "images": [], "annotations": []}))
    with pytest.raises(ValueError, match="lists no images"):
        dataset_of(shuffled)


def test_a_missing_frame_is_named(shuffled):
    (shuffled / "b1.png").unlink()
    with pytest.raises(OSError, match=r"frame 1 of clip 2: .*b1\.png is missing"):
        dataset_of(shuffled)[4]
