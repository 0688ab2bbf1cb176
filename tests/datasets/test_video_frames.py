"""Order of names, runs of clips, faults of files."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdyn.datasets.video_frames import count_frames, file_fault, natural_order, runs


def test_numbers_count_by_value():
    names = ["f10.png", "f2.png", "f1.png", "b/3.png", "a/20.png", "a/3.png"]
    expected = ["a/3.png", "a/20.png", "b/3.png", "f1.png", "f2.png", "f10.png"]
    assert natural_order(names) == expected
    assert natural_order(["1a", "a1", "01a"]) == ["01a", "1a", "a1"]


@given(st.lists(st.sampled_from("abc"), max_size=12))
def test_runs_are_the_stretches_of_equal_names(names):
    found = runs(names)
    assert [k for start, end in found for k in range(start, end)] == list(range(len(names)))
    for start, end in found:
        assert len(set(names[start:end])) == 1
    for (_, end), (start, _) in zip(found, found[1:], strict=False):
        assert end == start and names[end - 1] != names[start]


def test_frames_know_the_length_of_their_clip():
    frames = count_frames([dict(video_id=x) for x in "aab"])
    assert [frame["video_length"] for frame in frames] == [2, 2, 1]


def test_faults_of_files(tmp_path):
    good, empty, cut = tmp_path / "good.png", tmp_path / "empty.png", tmp_path / "cut.png"
    cv2.imwrite(str(good), np.zeros((8, 8, 3), np.uint8))
    empty.touch()
    cut.write_bytes(good.read_bytes()[:30])
    assert file_fault(str(good)) is None
    assert file_fault(str(empty)) == "is empty"
    assert file_fault(str(cut)) == "is not a readable image"
    assert "missing" in file_fault(str(tmp_path / "none.png"))


@pytest.mark.parametrize("names", [[], ["x"]])
def test_trivial_lists(names):
    assert natural_order(names) == names
