"""The demo's whole way, tiny: paint, train, run dense and with blocks, draw."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import torch

from mmdyn.datasets.frame_reader import FrameReader


def test_demo(tiny: SimpleNamespace, tmp_path: Path) -> None:
    done = tiny.run(
        "demo", "--out", tmp_path, "--size", 96, 192, "--block-size", 32, "--stills", 2,
        "--frames", 4, "--iters", 2, "--budgets", 0.5,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "speed-up" in done.stdout and "training" in done.stderr
    rows = json.loads((tmp_path / "demo.json").read_text())
    assert [row["budget"] for row in rows] == [None, 0.5]
    assert rows[1]["gmacs"] < rows[0]["gmacs"]
    assert len(FrameReader(str(tmp_path / "demo.mp4"))) == 4
    assert cv2.imread(str(tmp_path / "demo.png")) is not None


def test_weights_of_another_network_are_named(tiny: SimpleNamespace, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.pth"
    torch.save(dict(state_dict=torch.nn.Linear(2, 2).state_dict()), foreign)
    done = tiny.run(
        "demo", "--out", tmp_path, "--size", 96, 192, "--block-size", 32, "--stills", 2,
        "--frames", 4, "--checkpoint", foreign,
    )  # fmt: skip
    assert done.returncode == 1
    assert "foreign.pth is another network's" in done.stderr.strip().splitlines()[-1]
