"""Frames of a file come exactly, in any order, in any process."""

import pickle

import cv2
import numpy as np
import pytest

from mmdyn.datasets.frame_reader import FrameReader, extract_frames


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Twelve frames whose brightness is their number times 20."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    for k in range(12):
        writer.write(np.full((48, 64, 3), 20 * k, np.uint8))
    writer.release()
    return path


def number(image: np.ndarray) -> int:
    return round(float(image.mean()) / 20)


def test_any_order_gives_the_right_frame(film):
    reader = FrameReader(film)
    assert (len(reader), reader.size, reader.fps) == (12, (48, 64), 10.0)
    for index in (0, 1, 2, 7, 7, 3, 11, 0):
        assert number(reader[index]) == index
    with pytest.raises(IndexError, match="12 frames"):
        reader[12]


def test_a_copy_opens_the_file_anew(film):
    reader = FrameReader(film)
    assert number(reader[5]) == 5
    copy = pickle.loads(pickle.dumps(reader))
    assert number(copy[4]) == 4 and number(reader[6]) == 6


def test_a_file_cut_short_names_the_frame(film, tmp_path):
    cut = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(cut), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for k in range(12):
        writer.write(np.full((48, 64, 3), 20 * k, np.uint8))
    writer.release()
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) // 3])
    with pytest.raises(OSError, match=r"cut\.avi"):
        reader = FrameReader(cut)
        for index in range(12):
            reader[index]


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        FrameReader(tmp_path / "none.mp4")
    foreign = tmp_path / "text.mp4"
    foreign.write_text("not a video")
    with pytest.raises(OSError, match="cannot decode"):
        FrameReader(foreign)


def test_extracted_frames_are_kept(film, tmp_path):
    paths = extract_frames(str(film), str(tmp_path / "out"), first=1)
    assert len(paths) == 12 and paths[0].endswith("000001.jpg")
    assert number(cv2.imread(paths[6])) == 6
    cv2.imwrite(paths[3], np.zeros((48, 64, 3), np.uint8))
    extract_frames(str(film), str(tmp_path / "out"), first=1)
    assert number(cv2.imread(paths[3])) == 0
