"""Which clip an image belongs to, from its path alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath
from typing import NamedTuple

from mmdyn.registry import CLIP_IDS


class ClipFrame(NamedTuple):
    """A clip's name and the frame's number in it."""

    clip: str
    frame: int


_CITYSCAPES = re.compile(r"^(?P<clip>[^_]+_\d{6})_(?P<frame>\d{6})_leftImg8bit$")
_NUMBERED = re.compile(r"^(?P<prefix>.*?)(?P<frame>\d+)$")


@CLIP_IDS.register_module(name="cityscapes")
def cityscapes_frame(img_path: str) -> ClipFrame | None:
    """``<city>_<sequence>_<frame>_leftImg8bit.png``: a sequence is a clip."""
    match = _CITYSCAPES.match(PurePath(img_path).stem)
    return ClipFrame(match["clip"], int(match["frame"])) if match else None


@CLIP_IDS.register_module(name="mot")
def mot_frame(img_path: str) -> ClipFrame | None:
    """``<sequence>/img1/<frame>.jpg``: a sequence's folder is a clip."""
    path = PurePath(img_path)
    if path.parent.name != "img1" or not path.stem.isdigit():
        return None
    return ClipFrame(str(path.parent.parent), int(path.stem))


@CLIP_IDS.register_module(name="folder")
def folder_frame(img_path: str) -> ClipFrame | None:
    """Numbered images of one folder and one prefix are a clip; others are none."""
    path = PurePath(img_path)
    match = _NUMBERED.match(path.stem)
    if not match:
        return None
    return ClipFrame(str(path.parent / match["prefix"]), int(match["frame"]))


@CLIP_IDS.register_module(name="auto")
def any_frame(img_path: str) -> ClipFrame | None:
    """Cityscapes' names, then MOT's folders, then numbered images of a folder."""
    for function in (cityscapes_frame, mot_frame, folder_frame):
        found = function(img_path)
        if found is not None:
            return found
    return None


def build_clip_id(name: str | Callable) -> Callable[[str], ClipFrame | None]:
    """A function of this name in the registry CLIP_IDS, or the function itself."""
    if callable(name):
        return name
    function = CLIP_IDS.get(name)
    if function is None:
        known = ", ".join(sorted(CLIP_IDS.module_dict))
        raise ValueError(f"unknown clip_id '{name}'; known: {known}, or pass a function of a path")
    return function
