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
            ValueError: If they are no json.
        """
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f"{self.ann_file} is missing; set data_root and ann_file to the annotations."
            )
        try:
            with open(self.ann_file, encoding="utf-8") as file:
                return json.load(file)
        except ValueError as error:
            raise ValueError(
                f"{self.ann_file} is not a json file ({error}); is it whole? Fetch it again."
            ) from error

    def read_entries(self, needed: Sequence[str]) -> list[dict]:
        """The annotations of a json that lists people, each with the keys `needed`."""
        entries = self.read_json()
        if not isinstance(entries, list):
            raise ValueError(
                f"expected a list of people in {self.ann_file}, got a {type(entries).__name__}; is "
                "it another dataset's file?"
            )
        for number, entry in enumerate(entries):
            self.check_keys(entry, needed, f"entry {number}")
        return entries

    def check_keys(self, entry: dict, needed: Sequence[str], what: str) -> None:
        """Raises ValueError for an entry of the annotations that lacks a key."""
        keys = list(entry) if isinstance(entry, dict) else type(entry).__name__
        if any(key not in keys for key in needed):
            raise ValueError(
                f"expected {', '.join(needed)} in {what} of {self.ann_file}, got {keys}; is it "
                "another dataset's file?"
            )

    def numbers(self, values: Sequence, shape: tuple[int, ...], what: str) -> np.ndarray:
        """Values of the annotations as an array of this shape."""
        try:
            return np.asarray(values, np.float32).reshape(shape)
        except (TypeError, ValueError):
            wanted = " x ".join("n" if side < 0 else str(side) for side in shape)
            raise ValueError(
                f"expected {wanted} numbers for {what} in {self.ann_file}, got {values!r:.80}; "
                "mend the entry or leave it out."
            ) from None

    def filter_data(self) -> list[dict]:
        """All people; a dataset of none is refused."""
        people = super().filter_data()
        if not people:
            raise ValueError(
                f"expected people in {self.ann_file}, got none that {type(self).__name__} keeps "
                "(its docstring says whom it leaves out); give another file or split."
            )
        return people

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
        if not np.isfinite(facts.get("bbox", 0)).all():
            raise ValueError(
                f"expected a box of finite numbers for a person of {image} in {self.ann_file}, got "
                f"{facts['bbox'].ravel().tolist()}; mend the entry or leave it out."
            )
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
