"""COCO's people, and any dataset in that format."""

from __future__ import annotations

import numpy as np

from mmdyn.datasets.pose.base import PoseDataset, mirrored
from mmdyn.registry import DATASETS

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

    Crowds, people without a visible joint (in training) and boxes without area are left out.

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
        absent = {"images", "annotations"} - set(content)
        if absent:
            raise ValueError(
                f"expected images and annotations in {self.ann_file}, {sorted(absent)} are not "
                "there; give a COCO keypoint json."
            )
        images = {image["id"]: image for image in content["images"]}
        people = []
        for entry in content["annotations"]:
            image = images[entry["image_id"]]
            box = self._box(entry["bbox"], image["width"], image["height"])
            unknown = [0] * 3 * len(self._metainfo["keypoint_names"])
            joints = np.asarray(entry.get("keypoints", unknown), np.float32).reshape(-1, 3)
            useless = not self.test_mode and not (joints[:, 2:] > 0).any()
            if entry.get("iscrowd") or box is None or useless:
                continue
            people.append(
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
            )
        return people

    @staticmethod
    def _box(box: list[float], width: int, height: int) -> np.ndarray | None:
        """x, y, width, height as corners inside the image (1, 4); None without area."""
        x1, y1 = max(box[0], 0), max(box[1], 0)
        x2, y2 = min(box[0] + box[2], width), min(box[1] + box[3], height)
        if x2 <= x1 or y2 <= y1:
            return None
        return np.array([[x1, y1, x2, y2]], np.float32)
