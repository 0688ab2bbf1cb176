"""Writes generated clips as Cityscapes, as COCO video and as mp4."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import cv2
import numpy as np

from mmdyn.datasets.coco_writer import CocoVideoWriter, run_lengths
from mmdyn.datasets.street.labels import INSTANCE_CLASSES, LABEL_IDS, PERSON
from mmdyn.datasets.street_clips import StreetClip, StreetFrame

SMALLEST_OBJECT = 24  # pixels: what is smaller is in the class map, but not among the boxes


@dataclass(frozen=True)
class StreetDataset:
    """What ``write`` makes of every seed.

    ::

        root/leftImg8bit_sequence/<split>/street/street_<clip>_<frame>_leftImg8bit.png
        root/leftImg8bit/<split>/street/...         the labelled frames alone
        root/gtFine/<split>/street/..._gtFine_{labelTrainIds,labelIds,instanceIds}.png
        root/annotations/instances_<split>.json     boxes, masks, ids; files below the sequence
        root/videos/<split>/street_<clip>.mp4       with ``video=True``

    Args:
        root (str): Folder to write to; it is made.
        split (str): 'train', 'val' or any other name.
        size (tuple): (height, width) in pixels. Default (512, 1024).
        frames (int): Frames of a clip. Default 30.
        cameras (tuple): 'moving' and 'still', taken in turn. Default both.
        labelled (Sequence[int] | None): The frames that get labels, -1 the last; None labels all.
            Default (19,), as in Cityscapes.
        stills (bool): Makes the labelled frames alone, for training. Default False.
        video (bool): Writes an mp4 of each clip, too. Default False.
        fps (float): Frames a second. Default 17.

    Raises:
        ValueError: If a labelled frame is not in the clip, or a video of stills is asked for.
    """

    root: str
    split: str
    size: tuple[int, int] = (512, 1024)
    frames: int = 30
    cameras: tuple[str, ...] = ("moving", "still")
    labelled: Sequence[int] | None = (19,)
    stills: bool = False
    video: bool = False
    fps: float = 17.0

    def __post_init__(self) -> None:
        outside = [k for k in self.labelled or () if not -self.frames <= k < self.frames]
        if outside:
            raise ValueError(
                f"labelled frame {outside[0]} is not in a clip of {self.frames} frames; choose "
                f"frames up to {self.frames - 1}, or -1 for the last."
            )
        if self.stills and self.video:
            raise ValueError("a video needs all frames; ask for stills or for a video, not both.")

    def write(
        self,
        seeds: Iterable[int],
        jobs: int = 1,
        progress: Callable[[Iterable, int], Iterable] | None = None,
    ) -> str:
        """Writes one clip a seed.

        Args:
            seeds (Iterable[int]): A seed's clip has its number.
            jobs (int): Processes that paint at the same time. Default 1.
            progress (Callable | None): Called with (clips, their number), a progress bar.

        Returns:
            str: The path of the json.
        """
        seeds = list(seeds)
        cameras = [self.cameras[k % len(self.cameras)] for k in range(len(seeds))]
        categories = {LABEL_IDS[PERSON + i]: name for i, name in enumerate(INSTANCE_CLASSES)}
        coco = CocoVideoWriter(categories)
        with ProcessPoolExecutor(jobs) if jobs > 1 else _Inline() as pool:
            clips = pool.map(_write_clip, repeat(self), seeds, cameras)
            for seed, shots in zip(
                seeds, progress(clips, len(seeds)) if progress else clips, strict=True
            ):
                coco.add_video(_name(seed), self.size, self.frames, self.fps)
                for index, labelled, objects in shots:
                    coco.add_image(f"{_stem(seed, index)}_leftImg8bit.png", index, labelled)
                    for thing in objects:
                        coco.add_object(**thing)
        path = os.path.join(self.root, "annotations", f"instances_{self.split}.json")
        coco.save(path)
        return path

    def truth(self) -> set[int]:
        """The numbers of the labelled frames."""
        if self.labelled is None:
            return set(range(self.frames))
        return {k % self.frames for k in self.labelled}


class _Inline:
    """Stands in for a pool of processes where there is but one."""

    map = staticmethod(map)

    def __enter__(self) -> _Inline:
        return self

    def __exit__(self, *error) -> None:
        return None


def _name(seed: int) -> str:
    return f"street_{seed:06d}"


def _stem(seed: int, index: int) -> str:
    return f"street/{_name(seed)}_{index:06d}"


def _write_clip(plan: StreetDataset, seed: int, camera: str) -> list[tuple[int, bool, list[dict]]]:
    """Writes one clip's pictures; returns (frame, labelled, objects) of each."""
    clip = StreetClip(seed, plan.frames, plan.size, camera, plan.fps)
    truth, shots = plan.truth(), []
    film = _open_film(plan, seed) if plan.video else None
    for index in sorted(truth) if plan.stills else range(plan.frames):
        frame, labelled = clip[index], index in truth
        _write_frame(plan, _stem(seed, index), frame, labelled)
        objects = frame.objects(SMALLEST_OBJECT) if labelled else []
        records = [
            dict(
                category=LABEL_IDS[thing.label], instance=thing.instance_id, box=thing.box,
                area=int(thing.mask.sum()), segmentation=run_lengths(thing.mask),
            )
            for thing in objects
        ]  # fmt: skip
        shots.append((index, labelled, records))
        if film is not None:
            film.write(frame.image)
    if film is not None:
        film.release()
    return shots


def _write_frame(plan: StreetDataset, stem: str, frame: StreetFrame, labelled: bool) -> None:
    def path(*parts: str) -> str:
        return os.path.join(plan.root, parts[0], plan.split, "".join((stem, *parts[1:])))

    _save(path("leftImg8bit_sequence", "_leftImg8bit.png"), frame.image)
    if not labelled:
        return
    ids = np.array(LABEL_IDS, np.uint8)[frame.semantic]
    _save(path("leftImg8bit", "_leftImg8bit.png"), frame.image)
    _save(path("gtFine", "_gtFine_labelTrainIds.png"), frame.semantic)
    _save(path("gtFine", "_gtFine_labelIds.png"), ids)
    _save(path("gtFine", "_gtFine_instanceIds.png"), _instance_ids(frame, ids))


def _instance_ids(frame: StreetFrame, ids: np.ndarray) -> np.ndarray:
    """Cityscapes' instance map: the class's id, or 1000 x id + number for objects (uint16)."""
    numbered = ids.astype(np.uint16)
    seen: dict[int, int] = {}
    for thing in frame.objects():
        place = seen.get(thing.label, 0)
        seen[thing.label] = place + 1
        numbered[thing.mask] = LABEL_IDS[thing.label] * 1000 + place
    return numbered


def _save(path: str, image: np.ndarray) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not cv2.imwrite(path, image, [cv2.IMWRITE_PNG_COMPRESSION, 3]):
        raise OSError(f"could not write {path}; is the folder writable and the disk not full?")


def _open_film(plan: StreetDataset, seed: int) -> cv2.VideoWriter:
    path = os.path.join(plan.root, "videos", plan.split, f"{_name(seed)}.mp4")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    codec = cv2.VideoWriter_fourcc(*"mp4v")
    film = cv2.VideoWriter(path, codec, plan.fps, plan.size[::-1])
    if not film.isOpened():
        raise OSError(f"OpenCV cannot write {path}; leave the video off or install its ffmpeg.")
    return film
