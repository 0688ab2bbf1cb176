"""A folder of frames through the pipelines of mmseg and mmdet."""

import cv2
import numpy as np
import pytest

pytest.importorskip("mmcv")

from mmdyn.datasets.frame_folder import FrameFolderDataset

LOAD = dict(type="LoadImageFromFile")


def write(folder, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        number = int("".join(c for c in name if c.isdigit())) % 256
        cv2.imwrite(str(folder / name), np.full((16, 24, 3), number, np.uint8))


def test_frames_come_in_natural_order(tmp_path):
    write(tmp_path, "f10.png", "f9.png", "f100.png")
    (tmp_path / "notes.txt").write_text("no frame")
    dataset = FrameFolderDataset(str(tmp_path), pipeline=[LOAD])
    assert [sample["img"][0, 0, 0] for sample in dataset] == [9, 10, 100]
    assert [sample["frame_id"] for sample in dataset] == [0, 1, 2]
    assert dataset.clips == [(0, 3)] and dataset[0]["video_length"] == 3


def test_folders_below_are_clips(tmp_path):
    write(tmp_path / "cam2", "1.png")
    write(tmp_path / "cam10", "1.png", "2.png")
    dataset = FrameFolderDataset(str(tmp_path), pipeline=[LOAD])
    assert [(s["video_id"], s["frame_id"]) for s in dataset] == [
        ("cam2", 0), ("cam10", 0), ("cam10", 1),
    ]  # fmt: skip
    assert dataset.clips == [(0, 1), (1, 3)]


@pytest.mark.parametrize("package, pack", [("mmseg", "PackSegInputs"), ("mmdet", "PackDetInputs")])
def test_stock_pipelines_give_the_identity(tmp_path, package, pack):
    pytest.importorskip(f"{package}.datasets.transforms")
    write(tmp_path, "1.png", "2.png")
    annotations = dict(type=f"{package}.LoadAnnotations")
    pipeline = [LOAD, dict(type="Resize", scale=(12, 8)), annotations]
    dataset = FrameFolderDataset(
        str(tmp_path), pipeline=[*pipeline, dict(type=f"{package}.{pack}")]
    )
    meta = dataset[1]["data_samples"].metainfo
    assert (meta["video_id"], meta["frame_id"], meta["video_length"]) == (".", 1, 2)
    assert meta["img_shape"] == (8, 12) and meta["ori_shape"] == (16, 24)


def test_a_broken_frame_in_the_middle_is_named(tmp_path):
    write(tmp_path, "1.png", "2.png", "3.png")
    content = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(content[: len(content) // 2])
    dataset = FrameFolderDataset(str(tmp_path), pipeline=[LOAD])
    assert dataset[2]["img"].shape == (16, 24, 3)
    with pytest.raises(OSError, match=r"2\.png is not a readable image; restore"):
        dataset[1]
    (tmp_path / "2.png").write_bytes(b"")
    with pytest.raises(OSError, match=r"2\.png is empty"):
        dataset[1]
    (tmp_path / "2.png").unlink()
    with pytest.raises(OSError, match=r"2\.png is missing"):
        dataset[1]
    quiet = FrameFolderDataset(str(tmp_path), pipeline=[dict(**LOAD, ignore_empty=True)])
    (tmp_path / "1.png").unlink()
    with pytest.raises(OSError, match=r"1\.png is missing"):
        quiet[0]


def test_other_errors_pass_as_they_are(tmp_path):
    write(tmp_path, "1.png")
    dataset = FrameFolderDataset(str(tmp_path), pipeline=[LOAD, lambda results: results["wrong"]])
    with pytest.raises(KeyError, match="wrong"):
        dataset[0]
    dropping = FrameFolderDataset(str(tmp_path), pipeline=[LOAD, lambda results: None])
    with pytest.raises(ValueError, match="pipeline returned nothing"):
        dropping[0]


def test_empty_missing_and_training(tmp_path):
    with pytest.raises(FileNotFoundError, match="no image"):
        FrameFolderDataset(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="is missing"):
        FrameFolderDataset(str(tmp_path / "none"))
    write(tmp_path, "1.png")
    with pytest.raises(ValueError, match="test_mode=True"):
        FrameFolderDataset(str(tmp_path), test_mode=False)


def test_sequences_of_a_cityscapes_folder_are_clips(tmp_path):
    names = [f"bonn_{clip:06d}_{k:06d}_leftImg8bit.png" for clip in (1, 2) for k in (7, 8)]
    write(tmp_path, *names[::-1], "other_3.png")
    dataset = FrameFolderDataset(str(tmp_path), pipeline=[LOAD])
    assert [(s["video_id"], s["frame_id"]) for s in dataset] == [
        (".", 0), ("bonn_000001", 0), ("bonn_000001", 1), ("bonn_000002", 0), ("bonn_000002", 1),
    ]  # fmt: skip
