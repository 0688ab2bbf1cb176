"""Caltech's text and json layouts."""

import json

import pytest

from mmdyn.datasets.caltech_files import read_caltech

TEXT = """% bbGt version=3
person 10 20 10 40 0 0 0 0 0 0 0
person 30 20 10 40 1 30 20 10 10 0 0
people 50 20 30 40 0 0 0 0 0 0 0
person 90 20 10 40 1 90 20 10 40 0 0
person 99 20 10 40 0 0 0 0 0 1 0
"""


def write_json(path, **fields) -> str:
    person = dict(lbl="person", pos=[10, 20, 10, 40], occl=1, posv=[10, 20, 10, 20], id=4)
    frames = {"1": [{**person, **fields}]}
    path.write_text(json.dumps({"set06": {"V000": dict(nFrame=3, frames=frames)}}))
    return str(path)


def test_a_text_file_is_a_frame(tmp_path):
    (tmp_path / "set06_V000_I00029.txt").write_text(TEXT)
    (tmp_path / "set06_V001_I00059.txt").write_text("% bbGt version=3\n")
    (tmp_path / "notes.txt").write_text("no frame")
    frames = read_caltech(str(tmp_path))
    assert frames["set06", "V001", 59] == []
    whole, half, crowd, nothing, flagged = frames["set06", "V000", 29]
    assert whole.box == (10, 20, 10, 40) and whole.visible is None and not whole.ignored
    assert half.visible == (30, 20, 10, 10)
    assert crowd.ignored and flagged.ignored
    assert nothing.visible == (90, 20, 0, 0)  # visible part equal to the box: nothing visible


def test_a_json_has_all_frames(tmp_path):
    frames = read_caltech(write_json(tmp_path / "a.json"))
    assert [len(frames["set06", "V000", k]) for k in range(3)] == [0, 1, 0]
    person = frames["set06", "V000", 1][0]
    assert person.visible == (10, 20, 10, 20) and person.instance == 4
    person = read_caltech(write_json(tmp_path / "a.json", posv=0, lbl="person?"))
    assert person["set06", "V000", 1][0].ignored


def test_broken_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"a.json.*posv"):
        read_caltech(write_json(tmp_path / "a.json", pos=None))
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ValueError, match="AttributeError"):
        read_caltech(str(tmp_path / "a.json"))
    with pytest.raises(FileNotFoundError, match="no annotated frame"):
        read_caltech(str(tmp_path))
    (tmp_path / "set06_V000_I00029.txt").write_text("person 1 2 3\n")
    with pytest.raises(ValueError, match="line 1"):
        read_caltech(str(tmp_path))
    (tmp_path / "set06_V000_I00029.txt").write_bytes(b"\xff\xfe\x00 1 2 3\n")
    with pytest.raises(ValueError, match="I00029.txt, line 1"):
        read_caltech(str(tmp_path))
    with pytest.raises(ValueError, match=r"b.json.*four finite numbers"):
        read_caltech(write_json(tmp_path / "b.json", pos=[1, 2, 3]))
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"set06": {"V000": {"nFrame": 1, "frames": {"4": []}}}}))
    with pytest.raises(ValueError, match="frame 4 of set06/V000 is beyond its nFrame, 1"):
        read_caltech(str(path))
