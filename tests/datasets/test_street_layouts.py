"""The written layouts are those that the stock datasets read."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmdyn.datasets.frame_reader import FrameReader
from mmdyn.datasets.street.labels import LABEL_IDS, PERSON
from mmdyn.datasets.street_clips import StreetClip
from mmdyn.datasets.street_layouts import SMALLEST_OBJECT, StreetDataset

SIZE = (64, 96)


def frame_of(seed: int, index: int):
    return StreetClip(seed, 6, SIZE, {3: "moving", 4: "still"}[seed])[index]


def test_mmseg_reads_frames_and_labels(street_root):
    mmseg = pytest.importorskip("mmseg.datasets")
    dataset = mmseg.CityscapesDataset(
        data_root=str(street_root),
        data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="mmseg.LoadAnnotations"),
            dict(type="mmseg.PackSegInputs"),
        ],
    )
    assert len(dataset) == 2
    for seed, sample in zip((3, 4), dataset, strict=True):
        truth = frame_of(seed, 4)
        assert np.array_equal(sample["inputs"].permute(1, 2, 0).numpy(), truth.image)
        labels = sample["data_samples"].gt_sem_seg.data[0].numpy()
        assert np.array_equal(labels, truth.semantic)


def test_mmdet_reads_boxes_and_masks(street_root):
    mmdet = pytest.importorskip("mmdet.datasets")
    dataset = mmdet.CocoDataset(
        data_root=str(street_root),
        ann_file="annotations/instances_val.json",
        data_prefix=dict(img="leftImg8bit_sequence/val"),
        metainfo=dict(classes=mmdet.CityscapesDataset.METAINFO["classes"]),
        test_mode=True,
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True, poly2mask=True),
        ],
    )
    assert len(dataset) == 12
    for seed, index in ((3, 4), (4, 10)):
        truth = frame_of(seed, 4).objects(SMALLEST_OBJECT)
        sample = dataset[index]
        assert len(truth) == len(sample["gt_bboxes_labels"]) > 0
        for k, thing in enumerate(truth):
            assert np.array_equal(sample["gt_masks"].masks[k].astype(bool), thing.mask)
            x, y, width, height = thing.box
            box = sample["gt_bboxes"].tensor[k].tolist()
            assert box == [x, y, x + width, y + height]
            assert sample["gt_bboxes_labels"][k] == thing.label - PERSON
    assert len(dataset[0]["gt_bboxes_labels"]) == 0


def test_label_ids_and_instance_ids_agree(street_root):
    for seed in (3, 4):
        stem = street_root / f"gtFine/val/street/street_{seed:06d}_000004_gtFine_"
        read = {
            kind: cv2.imread(f"{stem}{kind}.png", cv2.IMREAD_UNCHANGED)
            for kind in ("labelTrainIds", "labelIds", "instanceIds")
        }
        assert np.array_equal(np.array(LABEL_IDS)[read["labelTrainIds"]], read["labelIds"])
        numbered = read["instanceIds"] >= 1000
        assert np.array_equal(numbered, read["labelTrainIds"] >= PERSON)
        classes = np.where(numbered, read["instanceIds"] // 1000, read["instanceIds"])
        assert np.array_equal(classes, read["labelIds"])


def test_videos_and_frames_are_all_there(street_root):
    frames = sorted(x.name for x in (street_root / "leftImg8bit_sequence/val/street").iterdir())
    assert len(frames) == 12 and frames[0] == "street_000003_000000_leftImg8bit.png"
    film = FrameReader(street_root / "videos/val/street_000003.mp4")
    assert len(film) == 6 and film.size == SIZE and film.fps == pytest.approx(17, abs=0.1)
    assert np.abs(film[2].astype(float) - frame_of(3, 2).image).mean() < 20
    content = json.loads((street_root / "annotations/instances_val.json").read_text())
    assert [video["length"] for video in content["videos"]] == [6, 6]
    labelled = {image["id"] for image in content["images"] if image["labelled"]}
    assert {a["image_id"] for a in content["annotations"]} == labelled == {5, 11}


def test_stills_by_two_processes_equal_those_by_one(tmp_path):
    written = []
    for jobs in (1, 2):
        root = tmp_path / str(jobs)
        dataset = StreetDataset(
            str(root), "train", size=(48, 64), frames=3, labelled=(-1,), stills=True
        )
        path = dataset.write([8, 9], jobs=jobs, progress=lambda clips, count: clips)
        images = sorted(root.rglob("*.png"))
        written.append((Path(path).read_text(), [image.read_bytes() for image in images]))
    assert written[0] == written[1]
    assert len(written[0][1]) == 2 * 5


def test_wrong_requests_are_named(tmp_path):
    with pytest.raises(ValueError, match="labelled frame 19 is not in a clip of 6 frames"):
        StreetDataset(str(tmp_path), "train", frames=6)
    with pytest.raises(ValueError, match="not both"):
        StreetDataset(str(tmp_path), "train", stills=True, video=True)
    assert StreetDataset(str(tmp_path), "train", frames=3, labelled=None).truth() == {0, 1, 2}
