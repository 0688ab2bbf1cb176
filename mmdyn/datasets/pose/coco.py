"""COCO's people, and any dataset in that format."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np

from mmdyn.datasets.pose.base import PoseDataset, mirrored
from mmdyn.registry import DATASETS

logger = logging.getLogger(__name__)

_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
# A joint's standard deviation over the person's size, from COCO's description of OKS.
_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
    0.087, 0.087, 0.089, 0.089,
)  # fmt: skip


@DATASETS.register_module()
class CocoKeypointDataset(PoseDataset):
    """COCO keypoints of people by their annotated boxes; mmpose's ``CocoDataset``.

    Crowds, people without a visible joint (in training) and boxes without area are left out, and
    with a warning people without a box or of images that the file does not list.

    Args:
        **kwargs: See ``mmengine.dataset.BaseDataset``; ``metainfo`` replaces names of joints.
    """

    METAINFO = dict(
        dataset_name="coco",
        keypoint_names=_NAMES,
        flip_indices=mirrored(_NAMES),
        sigmas=_SIGMAS,
        torso=((5, 12), (6, 11)),
    )

    def load_data_list(self) -> list[dict]:
        """The people of all images."""
        content = self.read_json()
        self.check_keys(content, ("images", "annotations"), "the json")
        images = {}
        for number, image in enumerate(content["images"]):
            self.check_keys(image, ("id", "file_name", "width", "height"), f"image {number}")
            images[image["id"]] = image
        people, lost = [], Counter()
        for number, entry in enumerate(content["annotations"]):
            self.check_keys(entry, ("id", "image_id"), f"annotation {number}")
            image = images.get(entry["image_id"])
            if entry.get("iscrowd"):
                continue
            if image is None or entry.get("bbox") is None:
                lost["of images that it does not list" if image is None else "without bbox"] += 1
                continue
            people += self._person_of(entry, image)
        if lost:
            found = ", ".join(f"{count} {why}" for why, count in lost.items())
            logger.warning("%s: annotations are left out: %s", self.ann_file, found)
        return people

    def _person_of(self, entry: dict, image: dict) -> list[dict]:
        """The item of an annotation; none if there is nothing to learn or to test."""
        name = f"annotation {entry['id']}"
        corner = self.numbers(entry["bbox"], (4,), f"the bbox of {name}")
        if not np.isfinite(corner).all():
            raise ValueError(
                f"expected a bbox of finite numbers in {name} of {self.ann_file}, got "
                f"{entry['bbox']}; mend it or leave it out."
            )
        box = self._box(entry["bbox"], image["width"], image["height"])
        unknown = [0] * 3 * len(self._metainfo["keypoint_names"])
        joints = self.numbers(entry.get("keypoints", unknown), (-1, 3), f"the keypoints of {name}")
        if box is None or not (self.test_mode or (joints[:, 2:] > 0).any()):
            return []
        return [
            self.person(
                image["file_name"],
                joints[:, :2],
                joints[:, 2],
                bbox=box,
                area=float(entry.get("area", 0)),
                id=entry["id"],
                img_id=entry["image_id"],
                category_id=entry.get("category_id", 1),
            )
        ]

    @staticmethod
    def _box(box: list[float], width: int, height: int) -> np.ndarray | None:
        """x, y, width, height as corners inside the image (1, 4); None without area."""
        x1, y1 = max(box[0], 0), max(box[1], 0)
        x2, y2 = min(box[0] + box[2], width), min(box[1] + box[3], height)
        if x2 <= x1 or y2 <= y1:
            return None
        return np.array([[x1, y1, x2, y2]], np.float32)
