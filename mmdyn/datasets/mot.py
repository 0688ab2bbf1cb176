"""MOTChallenge's sequences as a COCO video json of persons."""

from __future__ import annotations

import configparser
import csv
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2

from mmdyn.datasets.coco_writer import CocoVideoWriter
from mmdyn.datasets.frame_reader import extract_frames
from mmdyn.datasets.video_frames import natural_order

PERSON = 1
VIDEOS = (".avi", ".mp4", ".mkv", ".mov")
# MOT16 and later: classes that are like persons, and are neither to be found nor to be missed.
PERSON_LIKE = {2, 7, 8, 12}  # on a vehicle, static person, distractor, reflection


@dataclass(frozen=True)
class Track:
    """One box: ``box`` is x, y, width, height in pixels from 0, ``ignored`` its flag."""

    instance: int
    box: tuple[float, float, float, float]
    ignored: bool


def read_tracks(path: str) -> dict[int, list[Track]]:
    """Boxes of a ``gt.txt`` by frame (from 1, as in the file).

    A line is frame, id, left, top, width, height (from 1), flag and more. A flag of 0 means that
    the box is ignored. With nine columns (MOT16 and later) the eighth is a class: persons (1) are
    kept, what is like one is ignored, the rest is left out.

    Raises:
        ValueError: If a line has too few columns or no numbers.
    """
    tracks = defaultdict(list)
    with open(path, newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row:
                continue
            try:
                frame, instance = int(float(row[0])), int(float(row[1]))
                left, top, width, height, flag = (float(x) for x in row[2:7])
            except ValueError as error:
                raise ValueError(
                    f"{path}, line {number}: expected 'frame,id,left,top,width,height,flag,…', "
                    f"got '{','.join(row)}'; is it a MOTChallenge gt.txt?"
                ) from error
            kind = int(float(row[7])) if len(row) == 9 else PERSON
            if kind != PERSON and kind not in PERSON_LIKE:
                continue
            ignored = flag == 0 or kind != PERSON
            tracks[frame].append(Track(instance, (left - 1, top - 1, width, height), ignored))
    return dict(tracks)


def mot_to_coco(
    sequences: Iterable[str],
    json_path: str,
    image_root: str,
    frames_to: str | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
    part: tuple[float, float] = (0.0, 1.0),
) -> dict[str, int]:
    """Writes the json of some sequences.

    Args:
        sequences (Iterable[str]): Folders with ``gt/gt.txt`` and ``img1/``, or a video in place
            of the images (frame k of the file is frame k of the labels, from 1).
        json_path (str): The json to write. Ignored boxes are crowds in it, which COCO's metric
            neither rewards nor punishes.
        image_root (str): Folder that the json's file names are relative to (``data_prefix``);
            images outside it are named in full.
        frames_to (str | None): Folder for the frames of videos (``<frames_to>/<sequence>/img1``);
            needed where a sequence is a video. Default None.
        progress (Callable): Wraps the frames of a video, for a progress bar. Default ``iter``.
        part (tuple[float, float]): Where each sequence begins and ends, in shares of its frames:
            (0, 0.4) is its first two fifths. Frames keep their numbers. Default (0, 1).

    Returns:
        dict: Counts of 'sequences', 'frames', 'boxes' and 'ignored'.

    Raises:
        FileNotFoundError: If labels or images are missing.
        ValueError: If the part is none.
    """
    if not 0.0 <= part[0] < part[1] <= 1.0:
        raise ValueError(f"part must be two shares from 0 to 1 in order, got {tuple(part)}")
    coco, ignored = CocoVideoWriter({PERSON: "person"}), 0
    for folder in sequences:
        folder = os.path.normpath(folder)
        labels = os.path.join(folder, "gt", "gt.txt")
        if not os.path.isfile(labels):
            raise FileNotFoundError(f"{labels} is missing; give folders of MOT training sequences.")
        tracks = read_tracks(labels)
        images = _images(folder, frames_to, progress)
        first = cv2.imread(images[0])
        if first is None:
            raise OSError(f"{images[0]} is not a readable image; restore it.")
        chosen = range(*(round(share * len(images)) for share in part))
        coco.add_video(os.path.basename(folder), first.shape[:2], len(chosen), _rate(folder))
        for index in chosen:
            path = images[index]
            coco.add_image(_relative(path, image_root), index)
            for track in tracks.get(index + 1, ()):
                box = _inside(track.box, first.shape[:2])
                if box is not None:
                    ignored += track.ignored
                    coco.add_object(
                        PERSON, track.instance, box, box[2] * box[3], crowd=track.ignored
                    )
    coco.save(json_path)
    return dict(
        sequences=len(coco.videos), frames=len(coco.images), boxes=len(coco.annotations) - ignored,
        ignored=ignored,
    )  # fmt: skip


def _images(folder: str, frames_to: str | None, progress) -> list[str]:
    """The frames of a sequence, in order; a video's are extracted."""
    place = os.path.join(folder, "img1")
    if os.path.isdir(place):
        names = natural_order(os.listdir(place))
        images = [os.path.join(place, x) for x in names if x.lower().endswith((".jpg", ".png"))]
        if images:
            return images
    videos = [x for x in natural_order(os.listdir(folder)) if x.lower().endswith(VIDEOS)]
    if not videos:
        raise FileNotFoundError(f"neither images in {place} nor a video in {folder}; unpack it.")
    if frames_to is None:
        raise ValueError(
            f"{os.path.join(folder, videos[0])} is a video: say where its frames may be written "
            "(frames_to, or --frames-to on the command line)."
        )
    target = os.path.join(frames_to, os.path.basename(folder), "img1")
    return extract_frames(os.path.join(folder, videos[0]), target, progress=progress)


def _relative(path: str, root: str) -> str:
    """A path below a folder, or the whole path if it is elsewhere."""
    relative = os.path.relpath(path, root)
    return os.path.abspath(path) if relative.startswith(os.pardir) else relative


def _rate(folder: str) -> float:
    """Frames a second by ``seqinfo.ini``, or 25."""
    parser = configparser.ConfigParser()
    parser.read(os.path.join(folder, "seqinfo.ini"))
    return parser.getfloat("Sequence", "frameRate", fallback=25.0)


def _inside(box, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """A box cut to the image, or None if nothing is left."""
    x, y, width, height = box
    right, bottom = min(x + width, size[1]), min(y + height, size[0])
    x, y = max(x, 0.0), max(y, 0.0)
    return (x, y, right - x, bottom - y) if right - x >= 1 and bottom - y >= 1 else None
