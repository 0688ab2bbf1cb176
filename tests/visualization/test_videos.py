"""Frames into a video file, and back."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmdyn.datasets.frame_reader import FrameReader
from mmdyn.visualization import FilmWriter


@pytest.mark.parametrize("ending", [".mp4", ".avi"])
def test_written_frames_can_be_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "new" / f"film{ending}"
    with FilmWriter(path, fps=10) as film:
        for level in (40, 200):
            film.write(np.full((49, 65, 3), level, np.uint8))
        film.write(np.full((98, 130, 3), 120, np.uint8))
    reader = FrameReader(str(path))
    assert len(reader) == 3 and reader.size == (48, 64)
    assert [round(float(reader[k].mean()) / 40) for k in range(3)] == [1, 5, 3]


def test_other_endings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\.mp4 or \.avi"):
        FilmWriter("film.gif")


def test_failure_names_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = FilmWriter(tmp_path / "a.mp4")

    class Closed:
        def __init__(self, *args) -> None:
            self.isOpened = lambda: False

    monkeypatch.setattr(cv2, "VideoWriter", Closed)
    with pytest.raises(OSError, match=r"a\.mp4"):
        film.write(np.zeros((8, 8, 3), np.uint8))
