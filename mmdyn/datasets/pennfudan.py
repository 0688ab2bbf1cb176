"""The Penn-Fudan pedestrians as COCO-style jsons: boxes, masks, visible parts."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import cv2
import numpy as np

from mmdyn.datasets.coco_writer import run_lengths
from mmdyn.datasets.pedestrian_coco import PedestrianCoco
from mmdyn.datasets.video_frames import natural_order

_SIZE = re.compile(r"Image size \(X x Y x C\) : (\d+) x (\d+) x \d+")
_BOX = re.compile(
    r"Bounding box for object (\d+) .*: \((\d+), (\d+)\) - \((\d+), (\d+)\)"
)  # corners, from 1, the last pixel included
IMAGES = (".jpg", ".png")


@dataclass(frozen=True)
class Still:
    """One annotation file: ``size`` is height, width; ``boxes`` x, y, w, h by number of object."""

    name: str
    size: tuple[int, int]
    boxes: dict[int, tuple[float, float, float, float]]


def read_still(path: str) -> Still:
    """Reads a file of ``Annotation/``.

    Raises:
        ValueError: If it has no image size, or not a box for each object it counts.
    """
    with open(path, encoding="latin-1") as file:
        text = file.read()
    size, counted = _SIZE.search(text), re.search(r"ground truth : (\d+)", text)
    boxes = {}
    for number, *corners in _BOX.findall(text):
        left, top, right, bottom = (int(x) for x in corners)
        boxes[int(number)] = (left - 1.0, top - 1.0, right - left + 1.0, bottom - top + 1.0)
    if size is None or counted is None or len(boxes) != int(counted[1]):
        raise ValueError(
            f"{path}: expected an image size and a bounding box for each of the objects it counts, "
            f"got {len(boxes)} boxes; is it a file of PennFudanPed/Annotation?"
        )
    name = os.path.splitext(os.path.basename(path))[0]
    return Still(name, (int(size[2]), int(size[1])), boxes)


def pennfudan_to_coco(
    root: str, val_every: int = 5, category: str = "person"
) -> tuple[PedestrianCoco, PedestrianCoco]:
    """The stills of a folder with ``Annotation``, ``PedMasks``, and ``images`` or ``PNGImages``.

    ``vis_bbox`` is the extent of a person's mask within the box. Neighbouring stills often show
    one place, so validation is not free of training's scenes.

    Args:
        root (str): The folder; file names in the jsons are relative to it.
        val_every (int): Every so many stills go to validation, the first one included; 0 for
            none. Default 5.
        category (str): Name of category 1. Default 'person', as in mot2coco's jsons.

    Returns:
        tuple: Training and validation.

    Raises:
        FileNotFoundError: If annotations or an image are missing.
    """
    folder = os.path.join(root, "Annotation")
    names = [x for x in os.listdir(folder) if x.endswith(".txt")] if os.path.isdir(folder) else []
    if not names:
        raise FileNotFoundError(f"no *.txt in {folder}; give the unpacked PennFudanPed folder.")
    train, val = PedestrianCoco(category), PedestrianCoco(category)
    for index, name in enumerate(natural_order(names)):
        still = read_still(os.path.join(folder, name))
        coco = val if val_every and index % val_every == 0 else train
        coco.add_image(_image(root, still.name), still.size)
        masks = _masks(root, still)
        for number, box in still.boxes.items():
            if masks is None:
                coco.add_person(box)
                continue
            mask = masks == number
            coco.add_person(box, _extent(mask, box), segmentation=run_lengths(mask))
    return train, val


def _image(root: str, name: str) -> str:
    for folder in ("images", "PNGImages"):
        for ending in IMAGES:
            path = os.path.join(folder, name + ending)
            if os.path.isfile(os.path.join(root, path)):
                return path
    raise FileNotFoundError(f"no image {name} in {root}/images or {root}/PNGImages; unpack it.")


def _masks(root: str, still: Still) -> np.ndarray | None:
    """Numbers of the objects (H, W), or None where the masks were not unpacked."""
    path = os.path.join(root, "PedMasks", f"{still.name}_mask.png")
    if not os.path.isfile(path):
        return None
    masks = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    if masks is None or masks.shape[:2] != still.size:
        raise ValueError(
            f"{path}: expected a mask of {still.size} pixels (height, width), got "
            f"{None if masks is None else masks.shape}; restore the file."
        )
    return masks if masks.ndim == 2 else masks[..., 0]


def _extent(mask: np.ndarray, box) -> tuple[float, float, float, float]:
    """The box of a mask's pixels within another box; that box where the mask has none there."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return box
    left, top = max(columns[0], box[0]), max(rows[0], box[1])
    right = min(columns[-1] + 1, box[0] + box[2])
    bottom = min(rows[-1] + 1, box[1] + box[3])
    if right <= left or bottom <= top:
        return box
    return (float(left), float(top), float(right - left), float(bottom - top))
