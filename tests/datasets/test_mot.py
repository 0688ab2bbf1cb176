"""MOTChallenge's ground truth as COCO video."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("mmcv")

from mmdyn.datasets.mot import mot_to_coco, read_tracks

REAL = Path(os.environ.get("MMDYN_DATA", "../shared/data")) / "mot15"
MOT15 = """1,1,11,21,10,20,1,-1,-1,-1
1,2,-4,1,10,20,0,-1,-1,-1
3,1,13,21,10,20,1,5.5,3.2,0

"""
MOT17 = """1,1,11,21,10,20,1,1,0.8
1,2,11,21,10,20,1,3,1.0
2,3,11,21,10,20,0,8,0.5
"""


def sequence(root: Path, name: str, labels: str, frames: int = 3, video: bool = False) -> Path:
    folder = root / name
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt.txt").write_text(labels)
    (folder / "seqinfo.ini").write_text("[Sequence]\nname=x\nframeRate=14\n")
    image = np.zeros((48, 64, 3), np.uint8)
    if video:
        codec = cv2.VideoWriter_fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(folder / "x.avi"), codec, 10, (64, 48))
        for k in range(frames):
            writer.write(image + 30 * k)
        writer.release()
        return folder
    (folder / "img1").mkdir()
    for k in range(frames):
        cv2.imwrite(str(folder / "img1" / f"{k + 1:06d}.jpg"), image)
    return folder


def test_boxes_count_from_zero_and_flags_become_crowds(tmp_path):
    folder = sequence(tmp_path, "A", MOT15)
    out = tmp_path / "out" / "val.json"
    counts = mot_to_coco([f"{folder}/"], str(out), str(tmp_path))
    assert counts == dict(sequences=1, frames=3, boxes=2, ignored=1)
    content = json.loads(out.read_text())
    assert content["videos"][0] | dict(id=1) == dict(
        id=1, name="A", height=48, width=64, length=3, fps=14.0
    )
    assert [image["file_name"] for image in content["images"]][0] == "A/img1/000001.jpg"
    assert [image["frame_id"] for image in content["images"]] == [0, 1, 2]
    boxes = [
        (a["image_id"], a["instance_id"], a["bbox"], a["iscrowd"]) for a in content["annotations"]
    ]
    assert boxes == [
        (1, 1, [10, 20, 10, 20], 0), (1, 2, [0, 0, 5, 20], 1), (3, 1, [12, 20, 10, 20], 0),
    ]  # fmt: skip


def test_classes_of_later_challenges(tmp_path):
    tracks = read_tracks(str(sequence(tmp_path, "B", MOT17) / "gt/gt.txt"))
    assert [(t.instance, t.ignored) for t in tracks[1]] == [(1, False)]
    assert [(t.instance, t.ignored) for t in tracks[2]] == [(3, True)]


def test_frames_of_a_video_are_extracted_once(tmp_path):
    folder = sequence(tmp_path / "data", "C", MOT15, video=True)
    out = tmp_path / "c.json"
    with pytest.raises(ValueError, match="frames_to"):
        mot_to_coco([str(folder)], str(out), str(tmp_path / "data"))
    frames = tmp_path / "frames"
    mot_to_coco([str(folder)], str(out), str(tmp_path / "data"), str(frames))
    names = [image["file_name"] for image in json.loads(out.read_text())["images"]]
    assert names == [str(frames / "C/img1" / f"{k:06d}.jpg") for k in (1, 2, 3)]
    assert cv2.imread(names[2]).mean() == pytest.approx(60, abs=3)


def test_what_is_wrong_is_named(tmp_path):
    folder = sequence(tmp_path, "D", "1,2,3\n")
    with pytest.raises(ValueError, match=r"gt\.txt, line 1: expected 'frame,id"):
        mot_to_coco([str(folder)], str(tmp_path / "x.json"), str(tmp_path))
    with pytest.raises(FileNotFoundError, match="is missing; give folders"):
        mot_to_coco([str(tmp_path)], str(tmp_path / "x.json"), str(tmp_path))
    for image in (folder / "img1").iterdir():
        image.unlink()
    (folder / "gt/gt.txt").write_text(MOT15)
    with pytest.raises(FileNotFoundError, match="neither images"):
        mot_to_coco([str(folder)], str(tmp_path / "x.json"), str(tmp_path))


def test_mmdet_reads_the_json(tmp_path):
    pytest.importorskip("mmdet.datasets")
    from mmdyn.datasets.coco_video import CocoVideoDataset

    folder = sequence(tmp_path, "E", MOT15)
    mot_to_coco([str(folder)], str(tmp_path / "e.json"), str(tmp_path))
    dataset = CocoVideoDataset(
        data_root=str(tmp_path), ann_file="e.json", test_mode=True,
        pipeline=[dict(type="LoadImageFromFile"),
                  dict(type="mmdet.LoadAnnotations", with_bbox=True),
                  dict(type="mmdet.PackDetInputs", meta_keys=("img_id",))],
    )  # fmt: skip
    sample = dataset[0]["data_samples"]
    assert len(sample.gt_instances) == 1 and len(sample.ignored_instances) == 1
    assert sample.metainfo["video_length"] == 3


@pytest.mark.skipif(not REAL.is_dir(), reason="MOT15 is not there (MMDYN_DATA)")
def test_real_sequences_have_their_boxes(tmp_path):
    names = ["ETH-Sunnyday", "TUD-Stadtmitte"]
    counts = mot_to_coco([str(REAL / n) for n in names], str(tmp_path / "m.json"), str(REAL))
    assert counts["frames"] == 354 + 179
    assert counts["boxes"] + counts["ignored"] == 1901 + 1156


def test_a_part_of_each_sequence_keeps_its_frame_numbers(tmp_path):
    folders = [sequence(tmp_path, name, MOT15, frames=10) for name in "AB"]
    out = tmp_path / "part.json"
    counts = mot_to_coco([str(f) for f in folders], str(out), str(tmp_path), part=(0.2, 0.5))
    assert counts == dict(sequences=2, frames=6, boxes=2, ignored=0)
    content = json.loads(out.read_text())
    assert [image["frame_id"] for image in content["images"]] == [2, 3, 4] * 2
    assert [video["length"] for video in content["videos"]] == [3, 3]
    with pytest.raises(ValueError, match="two shares from 0 to 1 in order"):
        mot_to_coco([str(folders[0])], str(out), str(tmp_path), part=(0.5, 0.5))
