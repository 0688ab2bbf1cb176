"""CamVid's files as clips, and the real ones where they are."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("mmseg.datasets")

from mmdyn.registry import DATASETS

PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="mmseg.LoadAnnotations"),
    dict(type="mmseg.PackSegInputs"),
]
REAL = Path(os.environ.get("MMDYN_DATA", "../shared/data")) / "camvid"


def dataset_of(root, split: str, **kwargs):
    prefix = dict(img_path=split, seg_map_path=f"{split}annot")
    return DATASETS.build(
        dict(
            type="mmdyn.CamVidVideoDataset", data_root=str(root), data_prefix=prefix,
            pipeline=PIPELINE, test_mode=True, **kwargs,
        )
    )  # fmt: skip


def test_names_give_clips_and_void_is_ignored(tmp_path):
    for name in ("0016E5_07961", "0016E5_07959", "Seq05VD_f00030"):
        for folder, image in (("val", np.zeros((6, 8, 3))), ("valannot", np.full((6, 8), 11))):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), image.astype(np.uint8))
    dataset = dataset_of(tmp_path, "val")
    frames = [dataset.get_data_info(k) for k in range(3)]
    identities = [(x["video_id"], x["frame_id"], x["video_length"]) for x in frames]
    assert identities == [("0016E5", 7959, 2), ("0016E5", 7961, 2), ("Seq05VD", 30, 1)]
    assert dataset.clips == [(0, 2), (2, 3)]
    sample = dataset[1]["data_samples"]
    assert (sample.gt_sem_seg.data == 255).all() and sample.metainfo["frame_id"] == 7961


@pytest.mark.skipif(not REAL.is_dir(), reason="CamVid is not there (MMDYN_DATA)")
def test_the_validation_clip_is_one_clip():
    dataset = dataset_of(REAL, "val")
    assert dataset.clips == [(0, 101)]
    numbers = [dataset.get_data_info(k)["frame_id"] for k in range(101)]
    assert numbers == list(range(7959, 8160, 2))
