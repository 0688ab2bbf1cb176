"""Clips of leftImg8bit_sequence that lead to the labelled frames."""

import shutil

import cv2
import numpy as np
import pytest

pytest.importorskip("mmseg.datasets")

from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from mmdyn.datasets.cityscapes_video import CityscapesVideoDataset
from mmdyn.datasets.clip_sampler import ClipSampler
from mmdyn.registry import DATASETS

PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(48, 32), keep_ratio=False),
    dict(type="mmseg.LoadAnnotations"),
    dict(type="mmseg.PackSegInputs"),
]


def write(root, stem: str, number: int, digits: int = 6, label: bool = False) -> None:
    """An empty frame of a sequence ('city/city_000000'), and its labels."""
    name = f"{stem}_{number:0{digits}d}"
    folders = [("leftImg8bit_sequence/val", "_leftImg8bit.png", np.zeros((16, 24, 3), np.uint8))]
    if label:
        labels = np.full((16, 24), number % 19, np.uint8)
        folders.append(("gtFine/val", "_gtFine_labelTrainIds.png", labels))
    for folder, suffix, image in folders:
        path = root / folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)


@pytest.fixture
def snippets(tmp_path):
    """Two cities: one snippet from frame 0, and two of one numbered sequence."""
    for number in range(30):
        write(tmp_path, "aachen/aachen_000000", number, label=number == 19)
    for number in (*range(281, 311), *range(500, 530)):
        write(tmp_path, "bochum/bochum_000000", number, label=number in (300, 519))
    return tmp_path


def numbers(dataset) -> list[str]:
    return [dataset.get_data_info(k)["img_path"].split("_")[-2] for k in range(len(dataset))]


def test_clips_end_on_the_labelled_frame(snippets):
    dataset = CityscapesVideoDataset(data_root=str(snippets), clip_length=5, test_mode=True)
    assert dataset.clips == [(0, 5), (5, 10), (10, 15)]
    assert numbers(dataset)[5:] == [f"{k:06d}" for k in (*range(296, 301), *range(515, 520))]
    frames = [dataset.get_data_info(k) for k in range(5, 10)]
    assert [frame["frame_id"] for frame in frames] == [0, 1, 2, 3, 4]
    assert {frame["video_id"] for frame in frames} == {"bochum_000000_000296"}
    assert {frame["video_length"] for frame in frames} == {5}
    assert [frame["labelled"] for frame in frames] == [False] * 4 + [True]
    assert [("seg_map_path" in frame) for frame in frames] == [False] * 4 + [True]


def test_stock_pipeline_packs_labels_where_there_are_some(snippets):
    dataset = CityscapesVideoDataset(
        data_root=str(snippets), clip_length=3, pipeline=PIPELINE, test_mode=True
    )
    samples = [dataset[k]["data_samples"] for k in range(3)]
    assert ["gt_sem_seg" in sample for sample in samples] == [False, False, True]
    assert samples[2].gt_sem_seg.data.shape == (1, 16, 24) and samples[2].img_shape == (32, 48)
    assert (samples[2].gt_sem_seg.data == 0).all()
    assert samples[1].metainfo["frame_id"] == 1 and samples[1].metainfo["video_length"] == 3
    assert dataset.metainfo["classes"][0] == "road"


def test_frames_after_the_labelled_one_and_whole_snippets(snippets):
    longest = CityscapesVideoDataset(
        data_root=str(snippets), clip_length=20, frames_after=10, test_mode=True
    )
    assert longest.clips == [(0, 30), (30, 60), (60, 90)]
    assert sum(longest.get_data_info(k)["labelled"] for k in range(90)) == 3
    assert longest.get_data_info(19)["labelled"]


def test_labels_on_every_frame_make_one_clip(tmp_path):
    for number in range(6):
        write(tmp_path, "city/city_000000", number, label=True)
    dataset = CityscapesVideoDataset(data_root=str(tmp_path), clip_length=3, test_mode=True)
    assert dataset.clips == [(0, 6)]
    assert all(dataset.get_data_info(k)["labelled"] for k in range(6))


def test_training_and_lists_take_what_is_asked_for(snippets):
    training = CityscapesVideoDataset(data_root=str(snippets), clip_length=4, pipeline=PIPELINE)
    assert numbers(training) == ["000019", "000300", "000519"]
    assert "gt_sem_seg" in training[1]["data_samples"]
    (snippets / "some.txt").write_text("bochum/bochum_000000_000519\n\n")
    some = CityscapesVideoDataset(
        data_root=str(snippets), ann_file="some.txt", clip_length=2, test_mode=True
    )
    assert numbers(some) == ["000518", "000519"]


def test_generated_clips_are_read(street_root):
    dataset = DATASETS.build(
        dict(
            type="mmdyn.CityscapesVideoDataset", data_root=str(street_root), pipeline=PIPELINE,
            test_mode=True,
        )
    )  # fmt: skip
    assert dataset.clips == [(0, 5), (5, 10)]
    labels = dataset[4]["data_samples"].gt_sem_seg.data
    assert labels.shape == (1, 64, 96) and len(labels.unique()) > 4


def test_samplers_give_every_frame_once(snippets):
    dataset = CityscapesVideoDataset(data_root=str(snippets), clip_length=4, test_mode=True)
    loader = DataLoader(dataset, sampler=ClipSampler(dataset), collate_fn=lambda batch: batch[0])
    paths = [frame["img_path"] for frame in loader]
    assert paths == [dataset.get_data_info(k)["img_path"] for k in range(12)]
    stock = DataLoader(dataset, sampler=DefaultSampler(dataset, shuffle=False), collate_fn=list)
    assert len(stock) == len(loader)


def test_what_is_missing_is_named(snippets):
    hole = snippets / "leftImg8bit_sequence/val/aachen/aachen_000000_000017_leftImg8bit.png"
    hole.unlink()
    with pytest.raises(FileNotFoundError, match="aachen_000000_000017_leftImg8bit.png is missing"):
        CityscapesVideoDataset(data_root=str(snippets), clip_length=5, test_mode=True)
    shutil.rmtree(snippets / "leftImg8bit_sequence/val/aachen")
    with pytest.raises(FileNotFoundError, match="aachen_000000_000019_leftImg8bit.png is missing"):
        CityscapesVideoDataset(data_root=str(snippets), clip_length=5, test_mode=True)
    shutil.rmtree(snippets / "gtFine/val")
    with pytest.raises(FileNotFoundError, match="gtFine/val is missing; set data_root"):
        CityscapesVideoDataset(data_root=str(snippets), test_mode=True)
    (snippets / "gtFine/val").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no \*_gtFine_labelTrainIds.png"):
        CityscapesVideoDataset(data_root=str(snippets), test_mode=True)
    with pytest.raises(ValueError, match="clip_length=0"):
        CityscapesVideoDataset(data_root=str(snippets), clip_length=0)


def test_foreign_names_are_named(snippets):
    write(snippets, "aachen/aachen", 0, digits=1)
    odd = snippets / "gtFine/val/odd_gtFine_labelTrainIds.png"
    shutil.copy(snippets / "gtFine/val/aachen/aachen_000000_000019_gtFine_labelTrainIds.png", odd)
    with pytest.raises(ValueError, match="got 'odd'"):
        CityscapesVideoDataset(data_root=str(snippets), test_mode=True)


def test_a_broken_frame_is_named(snippets):
    path = snippets / "leftImg8bit_sequence/val/aachen/aachen_000000_000018_leftImg8bit.png"
    path.write_bytes(path.read_bytes()[:40])
    dataset = CityscapesVideoDataset(
        data_root=str(snippets), clip_length=3, pipeline=PIPELINE, test_mode=True
    )
    with pytest.raises(OSError, match="000018_leftImg8bit.png is not a readable image"):
        dataset[1]
