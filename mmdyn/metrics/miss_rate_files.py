"""Truth and detections of a miss rate, from COCO-style content."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mmengine.fileio import load

from mmdyn.metrics.miss_rate_curve import Found, Truth

logger = logging.getLogger(__name__)


@dataclass
class Annotated:
    """Whom an annotation file has on its images.

    Attributes:
        truths: Image id to the people, in the order of the ids; images that nobody labelled
            (``labelled: false``) are left out.
        unlabelled: Ids of those.
        category_id: The category that is evaluated.
        category: Its name.
    """

    truths: dict[int, Truth]
    unlabelled: set[int]
    category_id: int
    category: str


def read_json(path: str):
    """What a json file holds.

    Raises:
        ValueError: If it is none.
    """
    if not path.endswith(".json"):
        raise ValueError(f"{path}: expected a file that ends with .json; rename or convert it.")
    try:
        return load(path)
    except ValueError as error:
        raise ValueError(f"{path} is not a json file: {error}") from error


def read_truths(
    content: dict, category: str | None = None, source: str = "annotations"
) -> Annotated:
    """The truths in a COCO-style dict.

    ``height``, ``vis_ratio`` and ``ignore`` of an annotation are taken as they are; a missing
    height is its box's, a missing ratio the area of ``vis_bbox`` over its box's (1 without one).
    Without ``ignore``, ``iscrowd`` says it, unless height and ratio show that the annotation is
    CityPersons', whose evaluation does not ask for it.

    Args:
        content (dict): With 'images', 'annotations' and 'categories'.
        category (str | None): Name of the category; None for the one with id 1, which
            CityPersons' evaluation takes, or the only one. Default None.
        source (str): What errors call the content. Default 'annotations'.

    Raises:
        ValueError: If something is missing, twice there or no finite number.
    """
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(
                f"{source}: expected a COCO-style dict with lists 'images', 'annotations' and "
                f"'categories'; '{key}' is missing. Give the annotations, not the detections."
            )
    chosen, name = _category(content["categories"], category, source)
    images = _ids(content["images"], f"{source}, images")
    people = defaultdict(list)
    for place, annotation in enumerate(content["annotations"]):
        _check(annotation, f"{source}, annotation {place}", "image_id")
        if annotation.get("category_id") == chosen:
            people[annotation["image_id"]].append(annotation)
    _ids([a for a in content["annotations"] if "id" in a], f"{source}, annotations")
    lost = sorted(map(repr, set(people) - set(images)))
    if lost:
        logger.warning(
            "%s has people on images that it does not list, such as %s; they do not count", source,
            ", ".join(lost[:3]),
        )  # fmt: skip
    unlabelled = {image["id"] for image in content["images"] if not image.get("labelled", True)}
    truths = {key: _truth(people[key], source) for key in images if key not in unlabelled}
    if not truths:
        raise ValueError(f"{source} has no labelled image; check that it is the right file.")
    return Annotated(truths, unlabelled, chosen, name)


def _check(entry: object, where: str, key: str) -> None:
    """That an entry is a dict with an id."""
    if not isinstance(entry, dict) or not isinstance(entry.get(key), (int, str)):
        raise ValueError(
            f"{where}: expected a dict with '{key}', a number or a name, got {str(entry)[:200]}; "
            "repair the file."
        )


def _ids(entries: list, where: str) -> list:
    """The ids of dicts, sorted."""
    for place, entry in enumerate(entries):
        _check(entry, f"{where}, entry {place}", "id")
    found = [entry["id"] for entry in entries]
    twice = [key for key, count in Counter(found).items() if count > 1]
    if twice or len({type(key) for key in found}) > 1:
        raise ValueError(
            f"{where}: expected ids of one type that differ, got {twice[:3] or found[:3]} twice or "
            "mixed; repair the file."
        )
    return sorted(found)


def _category(categories: list[dict], name: str | None, source: str) -> tuple[int, str]:
    _ids(categories, f"{source}, categories")
    known = {c["id"]: c.get("name", str(c["id"])) for c in categories}
    if name is None and (1 in known or len(known) == 1):
        chosen = 1 if 1 in known else next(iter(known))
        return chosen, known[chosen]
    for key, value in known.items():
        if value == name:
            return key, value
    raise ValueError(
        f"{source}: expected category {name or 'with id 1'!r}, its categories are {known}; name "
        "the one to evaluate as 'category' (--category)."
    )


def _truth(annotations: Sequence[dict], source: str) -> Truth:
    for annotation in annotations:
        try:
            numbers = [*annotation["bbox"], _height(annotation), _visible(annotation)]
            good = len(numbers) == 6 and bool(np.isfinite(numbers).all())
        except (IndexError, KeyError, TypeError, ValueError):
            good = False
        if not good:
            raise ValueError(
                f"{source}, image {annotation['image_id']}: expected annotations with 'bbox' as x, "
                "y, width, height, and with 'height' and 'vis_ratio' or 'vis_bbox' where given, in "
                f"finite numbers, got {str(annotation)[:200]}; repair the file."
            )
    boxes = [a["bbox"] for a in annotations]
    return Truth(
        boxes=np.array(boxes, np.float64).reshape(len(boxes), 4),
        heights=np.array([_height(a) for a in annotations], np.float64),
        visible=np.array([_visible(a) for a in annotations], np.float64),
        ignored=np.array([_ignored(a) for a in annotations], bool),
    )


def _height(annotation: dict) -> float:
    return annotation.get("height", annotation["bbox"][3])


def _ignored(annotation: dict) -> bool:
    published = "height" in annotation and "vis_ratio" in annotation
    return bool(annotation.get("ignore", 0 if published else annotation.get("iscrowd", 0)))


def _visible(annotation: dict) -> float:
    if "vis_ratio" in annotation:
        return annotation["vis_ratio"]
    box, visible = annotation["bbox"], annotation.get("vis_bbox")
    if visible is None or not box[2] * box[3]:
        return 1.0
    return visible[2] * visible[3] / (box[2] * box[3])


def read_found(
    detections: list, annotated: Annotated, max_dets: int = 1000, source: str = "detections"
) -> dict[int, Found]:
    """Image id to detections, from COCO's list of results.

    Other categories and unlabelled images are left out; images without detections are not in it.

    Raises:
        ValueError: If an entry lacks a field, is not a number, or is of an unknown image.
    """
    if not isinstance(detections, list):
        raise ValueError(
            f"{source}: expected a list of dicts with 'image_id', 'category_id', 'bbox' and "
            f"'score', got {type(detections).__name__}; give COCO's results, not annotations."
        )
    boxes, scores = defaultdict(list), defaultdict(list)
    for place, entry in enumerate(detections):
        try:
            image, category = entry["image_id"], entry["category_id"]
            box, score = [float(x) for x in entry["bbox"]], float(entry["score"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{source}, entry {place}: {_expected(entry)}") from error
        bad = len(box) != 4 or not np.isfinite([*box, score]).all()
        if bad or not isinstance(image, (int, str)):
            raise ValueError(f"{source}, entry {place}: {_expected(entry)}")
        if image in annotated.unlabelled or category != annotated.category_id:
            continue
        if image not in annotated.truths:
            raise ValueError(
                f"{source}, entry {place}: image_id {image!r} is not in the annotations, whose ids "
                f"are like {list(annotated.truths)[:3]}; give the annotations of this split."
            )
        boxes[image].append(box)
        scores[image].append(score)
    others = {repr(entry["category_id"]) for entry in detections}
    if others and all(entry["category_id"] != annotated.category_id for entry in detections):
        logger.warning(
            "%s: no detection is of category %r ('%s'), they are of %s: everybody is missed; name "
            "another category (--category), or use the annotations' numbers", source,
            annotated.category_id, annotated.category, ", ".join(sorted(others)[:5]),
        )  # fmt: skip
    return {key: Found.best(np.array(boxes[key]), np.array(scores[key]), max_dets) for key in boxes}


def _expected(entry) -> str:
    return (
        "expected 'image_id', 'category_id', 'bbox' of four finite numbers and a finite 'score', "
        f"got {str(entry)[:200]}; repair the file."
    )


NOTHING = Found(np.zeros((0, 4)), np.zeros(0))
