"""CityPersons' published annotations, a ``.mat`` or a json an image, as COCO-style content."""

from __future__ import annotations

import json
import os

import numpy as np

from mmdyn.datasets.pedestrian_coco import PedestrianCoco
from mmdyn.datasets.video_frames import natural_order

# In the order of the .mat's class numbers, named as in the jsons.
KINDS = (
    "ignore",  # posters, reflections
    "pedestrian",
    "rider",
    "sitting person",
    "person (other)",  # unusual postures
    "person group",
)
SIZE = (1024, 2048)
_SUFFIX = "_gtBboxCityPersons.json"
_IMAGE = "_leftImg8bit.png"


def read_mat(path: str) -> PedestrianCoco:
    """``anno_train.mat`` or ``anno_val.mat``; image ids are places in it, from 1.

    A row of its boxes is class, x, y, w, h, instance id, and x, y, w, h of the visible part. What
    is no pedestrian is ignored.

    Raises:
        ValueError: If it is no such file.
    """
    coco = PedestrianCoco()
    for place, (name, rows) in enumerate(_cells(path), 1):
        coco.add_image(f"{name.split('_', 1)[0]}/{name}", SIZE)
        if rows.size and (rows.ndim != 2 or rows.shape[1] != 10):
            raise ValueError(
                f"{path}, image {place} ({name}): expected rows of 10 numbers (class, x, y, w, h, "
                f"instance, visible x, y, w, h), got an array of {rows.shape}."
            )
        for row in rows.reshape(-1, 10).astype(float):
            if row[0] not in range(len(KINDS)):
                raise ValueError(
                    f"{path}, image {place} ({name}): class {row[0]:g} is none of 0 to "
                    f"{len(KINDS) - 1}; is it CityPersons' file?"
                )
            label = int(row[0])
            try:
                coco.add_person(
                    tuple(row[1:5]), tuple(row[6:10]), ignore=label != 1, kind=KINDS[label],
                    instance_id=int(row[5]),
                )  # fmt: skip
            except ValueError as error:
                raise ValueError(f"{path}, image {place} ({name}): {error}.") from error
    return coco


def _cells(path: str) -> list[tuple[str, np.ndarray]]:
    """Image name and boxes of each cell of a .mat."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(
            f"{path}: reading .mat files needs scipy; install it, or use the json annotations "
            "(gtBbox_cityPersons_trainval.zip)."
        ) from error
    try:
        content = loadmat(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # what scipy raises for a broken file is of many kinds
        raise ValueError(f"{path} is not a readable .mat file ({error}); restore it.") from error
    arrays = [value for key, value in content.items() if not key.startswith("__")]
    try:
        cells = [cell.ravel()[0] for cell in arrays[0].ravel()]
        return [(str(np.ravel(c["im_name"])[0]), np.asarray(c["bbs"])) for c in cells]
    except (IndexError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path}: expected cells with the fields im_name and bbs, as in CityPersons' "
            f"anno_val.mat, got variables {[k for k in content if not k.startswith('__')]}."
        ) from error


def read_folder(folder: str) -> PedestrianCoco:
    """``gtBboxCityPersons/<split>``: ``<city>/<city>_<sequence>_<frame>_gtBboxCityPersons.json``.

    Image ids count the files in the order of their names, which is also the .mat's.

    Raises:
        FileNotFoundError: If the folder has no such file.
        ValueError: If one is not as published; the message names it.
    """
    names = [
        os.path.relpath(os.path.join(place, name), folder)
        for place, _, files in os.walk(folder)
        for name in files
        if name.endswith(_SUFFIX)
    ]
    if not names:
        raise FileNotFoundError(
            f"no *{_SUFFIX} below {folder}; unpack gtBbox_cityPersons_trainval.zip and give a "
            "split's folder, such as gtBboxCityPersons/val."
        )
    coco = PedestrianCoco()
    for name in natural_order(names):
        _add_json(coco, os.path.join(folder, name), name[: -len(_SUFFIX)] + _IMAGE)
    return coco


def _add_json(coco: PedestrianCoco, path: str, image: str) -> None:
    try:
        with open(path) as file:
            content = json.load(file)
        coco.add_image(
            image.replace(os.sep, "/"), (int(content["imgHeight"]), int(content["imgWidth"]))
        )
        for thing in content["objects"]:
            kind = thing["label"]
            if kind not in KINDS:
                raise ValueError(f"label {kind!r} is none of {KINDS}")
            coco.add_person(
                tuple(thing["bbox"]), tuple(thing["bboxVis"]), ignore=kind != "pedestrian",
                kind=kind, instance_id=int(thing.get("instanceId", -1)),
            )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected imgHeight, imgWidth and objects with label, bbox and bboxVis, as "
            f"CityPersons has them, but: {error}. Restore the file."
        ) from error


def read_citypersons(path: str) -> dict:
    """COCO-style content of a ``.mat``, a split's folder of jsons, or one COCO-style json."""
    if os.path.isdir(path):
        return read_folder(path).as_dict()
    if path.endswith(".mat"):
        return read_mat(path).as_dict()
    with open(path) as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise ValueError(f"{path} is not a json file ({error}); restore it.") from error
