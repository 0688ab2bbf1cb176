"""A COCO json that knows videos: boxes, masks and identities over frames."""

from __future__ import annotations

import json
import os

import numpy as np


def run_lengths(mask: np.ndarray) -> dict:
    """A mask (H, W) as COCO's uncompressed run lengths: down the columns, zeros first."""
    flat = np.asarray(mask, bool).ravel(order="F")
    before = np.concatenate([[False], flat[:-1]])
    edges = np.flatnonzero(flat != before)
    counts = np.diff(np.concatenate([[0], edges, [flat.size]]))
    return {"size": [int(side) for side in mask.shape], "counts": counts.tolist()}


class CocoVideoWriter:
    """Collects videos, frames and objects in order; ids count from 1.

    An image carries ``video_id``, ``frame_id`` (its number in the video, from 0) and ``labelled``
    (false: it has no annotations because nobody made any). An annotation carries ``instance_id``,
    the same for one object over all frames of its video.

    Args:
        categories (dict): Category id to name.
    """

    def __init__(self, categories: dict[int, str]) -> None:
        self.categories = [dict(id=key, name=name) for key, name in categories.items()]
        self.videos: list[dict] = []
        self.images: list[dict] = []
        self.annotations: list[dict] = []

    def add_video(self, name: str, size: tuple[int, int], length: int, fps: float) -> None:
        """Starts a video of ``size`` (height, width) pixels and ``length`` frames."""
        height, width = size
        self.videos.append(
            dict(
                id=len(self.videos) + 1, name=name, height=height, width=width,
                length=length, fps=fps,
            )
        )  # fmt: skip

    def add_image(self, file_name: str, frame: int, labelled: bool = True) -> None:
        """Adds a frame of the video started last."""
        video = self.videos[-1]
        self.images.append(
            dict(
                id=len(self.images) + 1, file_name=file_name, height=video["height"],
                width=video["width"], video_id=video["id"], frame_id=frame, labelled=labelled,
            )
        )  # fmt: skip

    def add_object(
        self,
        category: int,
        instance: int,
        box: tuple[float, float, float, float],
        area: float,
        segmentation: dict | list | None = None,
        crowd: bool = False,
    ) -> None:
        """Adds an object of the image added last; ``box`` is x, y, width, height in pixels."""
        image = self.images[-1]
        annotation = dict(
            id=len(self.annotations) + 1, image_id=image["id"], video_id=image["video_id"],
            category_id=category, instance_id=instance, bbox=list(box), area=area,
            iscrowd=int(crowd),
        )  # fmt: skip
        if segmentation is not None:
            annotation["segmentation"] = segmentation
        self.annotations.append(annotation)

    def save(self, path: str) -> None:
        """Writes the json, making its folder."""
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "w") as file:
            json.dump(vars(self), file)
