"""Street-like clips with exact labels, made from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmdyn.datasets.street.labels import CLASSES, INSTANCE_CLASSES, LABEL_IDS
from mmdyn.datasets.street.scene import Scene
from mmdyn.datasets.street.sensor import expose

__all__ = ["CLASSES", "INSTANCE_CLASSES", "LABEL_IDS", "StreetClip", "StreetFrame", "StreetObject"]


@dataclass(frozen=True)
class StreetObject:
    """What is seen of one object in one frame.

    Args:
        instance_id (int): The object's number, the same in every frame of its clip.
        label (int): Its class, an index of ``CLASSES`` (11 person to 18 bicycle).
        box (tuple): x, y, width, height of the visible pixels.
        mask (np.ndarray): (H, W) bool, the visible pixels.
    """

    instance_id: int
    label: int
    box: tuple[int, int, int, int]
    mask: np.ndarray


@dataclass(frozen=True)
class StreetFrame:
    """One frame with its labels, which were painted by the same strokes as its pixels.

    Args:
        image (np.ndarray): (H, W, 3) uint8, BGR.
        semantic (np.ndarray): (H, W) uint8, indices of ``CLASSES`` (Cityscapes' train ids).
        instance (np.ndarray): (H, W) int32, the object's number; 0 where there is none.
    """

    image: np.ndarray
    semantic: np.ndarray
    instance: np.ndarray

    def objects(self, smallest: int = 1) -> list[StreetObject]:
        """The objects with at least ``smallest`` visible pixels, by instance number."""
        found = []
        for number in np.unique(self.instance[self.instance > 0]):
            mask = self.instance == number
            if mask.sum() < smallest:
                continue
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            x, y = int(columns[0]), int(rows[0])
            box = (x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1)
            label = int(self.semantic[rows[0], np.flatnonzero(mask[rows[0]])[0]])
            found.append(StreetObject(int(number), label, box, mask))
        return found


class StreetClip(Sequence):
    """A clip of a street with houses, trees, cars, people and bicycles.

    Frames are made when asked for, each from the seed and its own number alone, so that
    ``clip[7]`` is the same whether or not ``clip[6]`` was made.

    Args:
        seed (int): Everything follows from it.
        frames (int): Length of the clip. Default 30.
        size (tuple): (height, width) in pixels; at least 48 each. Default (512, 1024).
        camera (str): 'moving' drives along the street, 'still' waits at a crossing. Default
            'moving'.
        fps (float): Frames a second. Default 17, as in Cityscapes.
        noise (float): Standard deviation of the sensor's noise in levels of 255 at mid grey;
            0 turns noise and changes of exposure off. Default 2.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        seed: int,
        frames: int = 30,
        size: tuple[int, int] = (512, 1024),
        camera: str = "moving",
        fps: float = 17.0,
        noise: float = 2.0,
    ) -> None:
        if camera not in ("moving", "still"):
            raise ValueError(f"camera must be 'moving' or 'still', got {camera!r}.")
        if frames < 1 or fps <= 0 or min(size) < 48 or noise < 0 or seed < 0:
            raise ValueError(
                "a clip needs frames >= 1, fps > 0, a size of at least 48 x 48, noise >= 0 and "
                f"seed >= 0; got frames={frames}, fps={fps}, size={size}, noise={noise}, "
                f"seed={seed}."
            )
        self.seed, self.frames, self.size = seed, frames, tuple(size)
        self.camera, self.fps, self.noise = camera, fps, noise
        self._scene = Scene(seed, camera == "moving", frames / fps)

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, index: int) -> StreetFrame:
        if not -self.frames <= index < self.frames:
            raise IndexError(f"frame {index} of a clip of {self.frames} frames.")
        index %= self.frames
        seconds = index / self.fps
        canvas = self._scene.paint(*self.size, seconds)
        image = expose(canvas.image, self.seed, index, seconds, self.noise)
        return StreetFrame(image, canvas.semantic, canvas.instance)

    def __iter__(self) -> Iterator[StreetFrame]:
        return (self[index] for index in range(self.frames))
