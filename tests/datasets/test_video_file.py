"""A video file through the pipelines of mmseg and mmdet, with and without workers."""

import cv2
import numpy as np
import pytest

pytest.importorskip("mmcv")

from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmdyn.datasets.video_file import VideoFileDataset

LOAD = dict(type="LoadImageFromFile")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    for k in range(10):
        writer.write(np.full((48, 64, 3), 20 * k, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("package, pack", [("mmseg", "PackSegInputs"), ("mmdet", "PackDetInputs")])
def test_stock_pipelines(film, package, pack):
    pytest.importorskip(f"{package}.datasets.transforms")
    pipeline = [LOAD, dict(type="Resize", scale=(32, 24)), dict(type=f"{package}.LoadAnnotations")]
    dataset = VideoFileDataset(str(film), pipeline=[*pipeline, dict(type=f"{package}.{pack}")])
    sample = dataset[3]
    meta = sample["data_samples"].metainfo
    assert sample["inputs"].shape == (3, 24, 32)
    assert float(sample["inputs"].float().mean()) == pytest.approx(60, abs=4)
    assert (meta["video_id"], meta["frame_id"], meta["video_length"]) == ("film.mp4", 3, 10)
    assert meta["ori_shape"] == (48, 64) and meta["img_path"] == str(film)


def test_a_part_of_the_file(film):
    dataset = VideoFileDataset(film.name, data_root=str(film.parent), start=2, end=9, step=3)
    frames = [dataset[k] for k in range(len(dataset))]
    assert [frame["frame_id"] for frame in frames] == [2, 5, 8]
    assert dataset.clips == [(0, 3)] and dataset.fps == pytest.approx(10 / 3)
    floats = VideoFileDataset(str(film), pipeline=[dict(**LOAD, to_float32=True)])
    assert floats[1]["img"].dtype == np.float32


@pytest.mark.parametrize("workers", [0, 2])
def test_order_with_workers(film, workers):
    dataset = VideoFileDataset(str(film), pipeline=[LOAD])
    dataset[5]
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=pseudo_collate)
    means = [float(image.mean()) for batch in loader for image in batch["img"]]
    assert means == pytest.approx([20 * k for k in range(10)], abs=4)


def test_wrong_ranges(film):
    with pytest.raises(ValueError, match="start=20"):
        VideoFileDataset(str(film), start=20)
    with pytest.raises(ValueError, match="test_mode=True"):
        VideoFileDataset(str(film), test_mode=False)
