"""tools/video_demo.py: folders and videos, dense and with blocks, broken frames."""

import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from mmdyn.datasets.frame_reader import FrameReader
from mmdyn.visualization import FilmWriter


def test_folder_with_blocks_gain_and_sheet(
    tool: ModuleType, tiny: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out, sheet = tmp_path / "out.mp4", tmp_path / "sheet.png"
    tool.main(
        [tiny.config, tiny.checkpoint, tiny.clip, "--out", str(out), "--sheet", str(sheet)]
        + ["--budget", "0.5", "--block-size", "32", "--show-blocks", "--device", "cpu"]
    )
    reader = FrameReader(str(out))
    assert len(reader) == 4
    assert reader.size[1] == 384, "the picture, the information gain and the probability"
    assert cv2.imread(str(sheet)).shape[1] == 1600
    printed = capsys.readouterr().out
    assert "BlockCopyEncoderDecoder" in printed and "wrote" in printed


def test_video_dense(tool: ModuleType, tiny: SimpleNamespace, tmp_path: Path) -> None:
    video, out = tmp_path / "in.avi", tmp_path / "out.avi"
    with FilmWriter(video, fps=7) as film:
        for level in (10, 100, 200):
            film.write(np.full((64, 128, 3), level, np.uint8))
    tool.main([tiny.config, "none", str(video), "--out", str(out), "--dense", "--device", "cpu"])
    reader = FrameReader(str(out))
    assert len(reader) == 3 and reader.fps == pytest.approx(7)
    assert reader.size[1] == 128


def test_broken_frame_is_skipped_with_a_note(
    tool: ModuleType,
    tiny: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    caplog: pytest.LogCaptureFixture,
) -> None:
    frames, out = tmp_path / "frames", tmp_path / "out.avi"
    shutil.copytree(Path(tiny.clip, "street"), frames)
    broken = sorted(frames.iterdir())[1]
    broken.write_bytes(b"not an image")
    tool.main(
        [tiny.config, tiny.checkpoint, str(frames), "--out", str(out), "--block-size", "32"]
        + ["--device", "cpu"]
    )
    assert len(FrameReader(str(out))) == 3
    assert broken.name in caplog.text
    assert "1 of 4 frames could not be read" in capsys.readouterr().err


def test_nothing_to_read(tool: ModuleType, tiny: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "a_1.png").write_bytes(b"")
    arguments = [tiny.config, tiny.checkpoint, str(tmp_path), "--out", str(tmp_path / "o.avi")]
    with pytest.raises(SystemExit, match="no frame of"):
        tool.main([*arguments, "--device", "cpu"])


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0, "x.py", "config x.py"),
        (1, "x.pth", "checkpoint x.pth"),
        (2, "x.mp4", "x.mp4 is missing"),
    ],
)
def test_missing_files_are_named(
    tool: ModuleType, tiny: SimpleNamespace, place: int, value: str, words: str
) -> None:
    arguments = [tiny.config, tiny.checkpoint, tiny.clip, "--out", "o.avi", "--device", "cpu"]
    arguments[place] = value
    with pytest.raises(SystemExit, match=words):
        tool.main(arguments)
