"""The converter's command line: it writes arrays, and names what is missing."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from mmdyn.datasets.cifar10 import SHEETS
from tools.dataset_converters import cifar10


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["cifar10.py", *map(str, arguments)])
    cifar10.main()


def test_a_folder_of_sheets_becomes_arrays(tmp_path, monkeypatch, capsys):
    for sheets, labels in SHEETS.values():
        for name in sheets:
            Image.new("RGB", (1024, 2)).save(tmp_path / name)
        (tmp_path / labels).write_text(json.dumps([1] * 2 * len(sheets)))
    run(monkeypatch, tmp_path, "--out", tmp_path / "out")
    assert "10 train, 2 test" in capsys.readouterr().out
    assert np.load(tmp_path / "out" / "train_images.npy").shape == (10, 32, 32, 3)


def test_an_incomplete_package_ends_with_its_name(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="data_batch_1.png is missing"):
        run(monkeypatch, tmp_path, "--out", tmp_path / "out")
