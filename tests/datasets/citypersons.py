"""A small CityPersons in its published layouts, as tests write it."""

import json
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

# class, x, y, w, h, instance, x, y, w, h of the visible part
ROWS = [
    [1, 10, 5, 20, 50, 24000, 10, 5, 20, 25],
    [2, 40, 5, 10, 30, 25000, 40, 5, 10, 30],
    [0, 60, 5, 30, 30, 0, 60, 5, 30, 30],
]
LABELS = ("ignore", "pedestrian", "rider", "sitting person", "person (other)", "person group")
NAMES = ("frankfurt_000000_000019", "lindau_000003_000019")


def write_mat(path: Path, rows: list[list[list]], variable: str = "anno_val_aligned") -> None:
    """One cell an image, each a struct of cityname, im_name and bbs."""
    cells = np.empty((1, len(rows)), object)
    for k, (name, boxes) in enumerate(zip(NAMES, rows, strict=True)):
        cell = np.empty((1, 1), [("cityname", object), ("im_name", object), ("bbs", object)])
        cell["cityname"][0, 0] = name.split("_")[0]
        cell["im_name"][0, 0] = f"{name}_leftImg8bit.png"
        whole = all(float(x).is_integer() for box in boxes for x in box)
        kind = np.uint16 if whole else np.float64
        cell["bbs"][0, 0] = np.array(boxes, kind) if boxes else np.zeros((0, 0))
        cells[0, k] = cell
    savemat(str(path), {variable: cells})


def write_jsons(folder: Path, rows: list[list[list]]) -> None:
    """One json an image, below its city."""
    for name, boxes in zip(NAMES, rows, strict=True):
        place = folder / name.split("_")[0]
        place.mkdir(parents=True, exist_ok=True)
        things = [
            dict(label=LABELS[b[0]], bbox=b[1:5], bboxVis=b[6:], instanceId=b[5]) for b in boxes
        ]
        content = dict(imgHeight=1024, imgWidth=2048, objects=things)
        (place / f"{name}_gtBboxCityPersons.json").write_text(json.dumps(content))


def write_images(folder: Path, first: int = 19, last: int = 19, names=NAMES) -> None:
    """Frames first to last of each snippet; what is in them tells their number."""
    for name in names:
        place = folder / name.split("_")[0]
        place.mkdir(parents=True, exist_ok=True)
        for number in range(first, last + 1):
            path = place / f"{name[:-6]}{number:06d}_leftImg8bit.png"
            cv2.imwrite(str(path), np.full((64, 128, 3), number, np.uint8))
