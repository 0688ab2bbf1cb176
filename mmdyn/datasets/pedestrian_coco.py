"""COCO-style annotations of pedestrians: whole and visible box, height, ignored or not."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence

Box = tuple[float, float, float, float]  # x, y, width, height in pixels from 0


class PedestrianCoco:
    """Collects stills and the people on them, in the fields that the miss rate is computed from.

    An annotation has ``bbox`` (the whole body), ``vis_bbox`` (its visible part), ``height``
    (pixels), ``vis_ratio`` (visible area over whole area, 0 to 1), ``ignore`` and ``kind``, the
    name of what it is. All are of category 1; what is ignored is a crowd to COCO's own metric.

    Args:
        category (str): Name of category 1. Default 'pedestrian'.
    """

    def __init__(self, category: str = "pedestrian") -> None:
        self.categories = [dict(id=1, name=category)]
        self.images: list[dict] = []
        self.annotations: list[dict] = []

    def add_image(self, file_name: str, size: tuple[int, int], **fields) -> None:
        """Adds an image of ``size`` (height, width) pixels; ids count from 1."""
        height, width = size
        self.images.append(
            dict(
                id=len(self.images) + 1, file_name=file_name, height=height, width=width, **fields
            )
        )  # fmt: skip

    def add_person(
        self,
        box: Box,
        visible: Box | None = None,
        ignore: bool = False,
        kind: str | None = None,
        **fields,
    ) -> None:
        """Adds a person to the image added last.

        Args:
            box (tuple): The whole body.
            visible (tuple | None): Its visible part; None where it is all visible.
            ignore (bool): Whether it is neither to be found nor to be missed.
            kind (str | None): What it is; None for the category's name.
            **fields: Further fields, such as ``instance_id`` or ``segmentation``.

        Raises:
            ValueError: If a box is no box, see ``checked_box``.
        """
        box = checked_box(box)
        visible = box if visible is None else checked_box(visible)
        self.annotations.append(
            dict(
                id=len(self.annotations) + 1, image_id=self.images[-1]["id"], category_id=1,
                bbox=list(box), vis_bbox=list(visible), height=box[3], area=box[2] * box[3],
                vis_ratio=visibility(box, visible), ignore=int(ignore), iscrowd=int(ignore),
                kind=kind or self.categories[0]["name"], **fields,
            )
        )  # fmt: skip

    def as_dict(self) -> dict:
        """The json's content."""
        return dict(categories=self.categories, images=self.images, annotations=self.annotations)

    def save(self, path: str) -> None:
        """Writes the json, making its folder."""
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "w") as file:
            json.dump(self.as_dict(), file)


def checked_box(box: Sequence[float]) -> Box:
    """The box, if it is one.

    Raises:
        ValueError: If it is not four finite numbers, x, y, width and height, with no side below 0.
    """
    numbers = tuple(float(x) for x in box)
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)) or min(numbers[2:]) < 0:
        raise ValueError(
            f"expected a box of four finite numbers, x, y, width and height, got {list(numbers)}"
        )
    return numbers


def visibility(box: Sequence[float], visible: Sequence[float]) -> float:
    """Visible area over whole area of x, y, w, h boxes; 0 where the whole has none."""
    whole = box[2] * box[3]
    return visible[2] * visible[3] / whole if whole > 0 else 0.0
