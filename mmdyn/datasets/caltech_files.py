"""Caltech Pedestrian's annotations, as the text and json files made of its ``.vbb``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from mmdyn.datasets.pedestrian_coco import Box, checked_box

_NAME = re.compile(r"(?P<set>set\d+)_(?P<video>V\d+)_I?(?P<frame>\d+)\.(txt|jpg|png)")
PERSON = "person"  # 'people', 'person?' and 'person-fa' are ignored


@dataclass(frozen=True)
class Person:
    """One box: ``visible`` is its visible part, None where it is all visible."""

    kind: str
    box: Box
    visible: Box | None
    ignored: bool
    instance: int = -1


Frames = dict[tuple[str, str, int], list[Person]]  # by set, video and number of the frame from 0


def read_caltech(path: str) -> Frames:
    """People by frame: from a json, or from a folder of ``set00_V000_I00029.txt``.

    The json is {set: {video: {'nFrame': …, 'frames': {number: [{'lbl', 'pos', 'occl', 'posv'}]}}}};
    all its frames are in the result, those without people too. A text file is Piotr's toolbox's
    (``bbGt version=3``), a line a person: label, x, y, w, h, occluded, x, y, w, h of the visible
    part, ignore, angle.

    Raises:
        FileNotFoundError: If there is no annotation.
        ValueError: If a file is neither; the message names it.
    """
    frames = _text_frames(path) if os.path.isdir(path) else _json_frames(path)
    if not frames:
        raise FileNotFoundError(f"{path} has no annotated frame; check data_root and ann_file.")
    return frames


def _text_frames(folder: str) -> Frames:
    frames: Frames = {}
    for place, _, names in os.walk(folder):
        for name in names:
            match = _NAME.fullmatch(name)
            if match is None or not name.endswith(".txt"):
                continue
            key = (match["set"], match["video"], int(match["frame"]))
            frames[key] = list(_text_people(os.path.join(place, name)))
    return frames


def _text_people(path: str) -> Iterator[Person]:
    with open(path, errors="replace") as file:
        for number, line in enumerate(file, 1):
            words = line.split()
            if not words or words[0].startswith("%"):
                continue
            try:
                values = [float(x) for x in words[1:12]]
                box, occluded, visible, ignored = (
                    values[:4], values[4], values[5:9], values[9]
                )  # fmt: skip
                person = _person(words[0], box, visible, occluded, bool(ignored))
            except (ValueError, IndexError) as error:
                raise ValueError(
                    f"{path}, line {number}: expected 'label x y w h occluded xv yv wv hv ignore', "
                    f"got '{line.strip()}'; is it a bbGt file of version 3?"
                ) from error
            yield person


def _json_frames(path: str) -> Frames:
    try:
        with open(path) as file:
            content = json.load(file)
        frames: Frames = {}
        for group, videos in content.items():
            for video, clip in videos.items():
                for number in range(int(clip["nFrame"])):
                    frames[group, video, number] = []
                for number, people in clip["frames"].items():
                    if (group, video, int(number)) not in frames:
                        raise ValueError(
                            f"frame {number} of {group}/{video} is beyond its nFrame, "
                            f"{clip['nFrame']}"
                        )
                    frames[group, video, int(number)] = [
                        _person(p["lbl"], p["pos"], p["posv"], p["occl"], False, p.get("id", -1))
                        for p in people
                    ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected {{set: {{video: {{'nFrame', 'frames': {{number: [{{'lbl', 'pos', "
            f"'occl', 'posv'}}]}}}}}}}}, but: {type(error).__name__} {error}; make it of the .vbb "
            "files again."
        ) from error
    return frames


def _person(kind: str, box, visible, occluded, ignored: bool, instance: int = -1) -> Person:
    box = checked_box(box)
    visible = checked_box(visible) if isinstance(visible, (list, tuple)) else (0.0,) * 4
    if not occluded or not any(visible):
        part = None
    elif visible == box:  # how the annotation tool says that nothing is visible
        part = (*box[:2], 0.0, 0.0)
    else:
        part = visible
    return Person(kind, box, part, ignored or kind != PERSON, int(instance))
