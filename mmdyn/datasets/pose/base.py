"""What the datasets of people share: one item a person."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np
from mmengine.dataset import BaseDataset


class PoseDataset(BaseDataset):
    """One item a person, with mmpose's keys.

    ``img_path``, ``bbox`` (1, 4) as x1, y1, x2, y2, ``keypoints`` (1, K, 2) and
    ``keypoints_visible`` (1, K), all in pixels of the image, ``id`` and ``img_id``. METAINFO names
    the joints (``keypoint_names``), each joint's mirror image (``flip_indices``) and what the
    metrics need.
    """

    def read_json(self) -> list | dict:
        """The annotations.

        Raises:
            FileNotFoundError: If there are none.
        """
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f"{self.ann_file} is missing; set data_root and ann_file to the annotations."
            )
        with open(self.ann_file) as file:
            return json.load(file)

    def person(self, image: str, joints: Sequence, visible: Sequence, **facts) -> dict:
        """An item of joints (K, 2) and flags (K,); the box is that of the visible joints."""
        keypoints = np.asarray(joints, np.float32).reshape(1, -1, 2)
        flags = (np.asarray(visible, np.float32) > 0).astype(np.float32).reshape(1, -1)
        names = self._metainfo["keypoint_names"]
        if keypoints.shape[1] != len(names) or flags.shape[1] != len(names):
            raise ValueError(
                f"expected {len(names)} joints ({', '.join(names)}) in {self.ann_file}, got "
                f"{keypoints.shape[1]} with {flags.shape[1]} flags; is it another dataset's file?"
            )
        bad = ~np.isfinite(keypoints).all(-1) & (flags > 0)
        if bad.any():
            raise ValueError(f"{self.ann_file}: a visible joint of {image} is not a number.")
        keypoints = np.where(flags[..., None] > 0, keypoints, 0)
        if "bbox" not in facts and flags.any():
            seen = keypoints[0, flags[0] > 0]
            facts["bbox"] = np.concatenate([seen.min(0), seen.max(0)])[None]
        folder = self.data_prefix.get("img", self.data_prefix.get("img_path", ""))
        return dict(
            img_path=os.path.join(folder, image),
            keypoints=keypoints,
            keypoints_visible=flags,
            flip_indices=list(self._metainfo["flip_indices"]),
            **facts,
        )


def mirrored(names: Sequence[str]) -> tuple[int, ...]:
    """Each joint's mirror image: 'left_' and 'right_' change places, the others stay."""
    swapped = [
        name.replace("left_", "right_") if "left_" in name else name.replace("right_", "left_")
        for name in names
    ]
    return tuple(list(names).index(name) for name in swapped)
