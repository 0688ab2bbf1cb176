"""Truth and detections of a miss rate, from COCO-style content."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmdyn.metrics.miss_rate_curve import Found, Truth


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


def read_truths(
    content: dict, category: str | None = None, source: str = "annotations"
) -> Annotated:
    """The truths in a COCO-style dict.

    ``height``, ``vis_ratio`` and ``ignore`` of an annotation are taken as they are; where they
    are missing, they are its box's height, the area of ``vis_bbox`` over its box's (1 without
    one), and ``iscrowd``.

    Args:
        content (dict): With 'images', 'annotations' and 'categories'.
        category (str | None): Name of the category; None for the one with id 1, which
            CityPersons' evaluation takes, or the only one. Default None.
        source (str): What errors call the content. Default 'annotations'.
    """
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(
                f"{source}: expected a COCO-style dict with lists 'images', 'annotations' and "
                f"'categories'; '{key}' is missing. Give the annotations, not the detections."
            )
    chosen, name = _category(content["categories"], category, source)
    people = defaultdict(list)
    for annotation in content["annotations"]:
        if annotation.get("category_id") == chosen:
            people[annotation.get("image_id")].append(annotation)
    truths, unlabelled = {}, set()
    for key in sorted(image["id"] for image in content["images"]):
        truths[key] = _truth(people[key], source)
    for image in content["images"]:
        if not image.get("labelled", True):
            unlabelled.add(image["id"])
            del truths[image["id"]]
    if not truths:
        raise ValueError(f"{source} has no labelled image; check that it is the right file.")
    return Annotated(truths, unlabelled, chosen, name)


def _category(categories: list[dict], name: str | None, source: str) -> tuple[int, str]:
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
    boxes = [a.get("bbox") for a in annotations]
    try:
        return Truth(
            boxes=np.array(boxes, np.float64).reshape(len(boxes), 4),
            heights=np.array([a.get("height", a["bbox"][3]) for a in annotations], np.float64),
            visible=np.array([_visible(a) for a in annotations], np.float64),
            ignored=np.array([a.get("ignore", a.get("iscrowd", 0)) for a in annotations], bool),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{source}, image {annotations[0].get('image_id')}: expected annotations with 'bbox' "
            f"as x, y, width, height, got {boxes}; repair the file."
        ) from error


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
        if len(box) != 4 or not np.isfinite([*box, score]).all():
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
    return {key: Found.best(np.array(boxes[key]), np.array(scores[key]), max_dets) for key in boxes}


def _expected(entry) -> str:
    return (
        "expected 'image_id', 'category_id', 'bbox' of four finite numbers and a finite 'score', "
        f"got {str(entry)[:200]}; repair the file."
    )


NOTHING = Found(np.zeros((0, 4)), np.zeros(0))
