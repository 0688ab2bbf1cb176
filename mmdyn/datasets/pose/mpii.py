"""MPII Human Pose: people with a scale, 16 joints and, for evaluation, the length of the head."""

from __future__ import annotations

import os

import numpy as np

from mmdyn.datasets.pose.base import PoseDataset, mirrored
from mmdyn.registry import DATASETS

_NAMES = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
    "pelvis", "thorax", "upper_neck", "head_top",
    "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip


@DATASETS.register_module()
class MpiiDataset(PoseDataset):
    """MPII from the json files in common use (``mpii_train.json``, ``mpii_val.json``).

    An entry has ``image``, ``center``, ``scale`` (of 200 px), ``joints`` and ``joints_vis``,
    counted from 1 as in the original annotations. The centre moves down by 15 ``scale`` px and the
    person's square is 250 ``scale`` px wide, as published recipes have it.

    Args:
        headbox_file (str): ``mpii_gt_val.mat`` with ``headboxes_src``, in the json's order, for
            PCKh; relative to data_root. Default '': no head lengths.
        **kwargs: See ``mmengine.dataset.BaseDataset``.
    """

    METAINFO = dict(
        dataset_name="mpii",
        keypoint_names=_NAMES,
        flip_indices=mirrored(_NAMES),
        torso=((13, 2), (12, 3)),
    )

    def __init__(self, headbox_file: str = "", **kwargs) -> None:
        self.headbox_file = headbox_file
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """All people of the file."""
        entries = self.read_entries(("image", "center", "scale"))
        heads = self._head_lengths(len(entries))
        people = []
        for number, entry in enumerate(entries):
            scale = float(self.numbers(entry["scale"], (), f"the scale of entry {number}"))
            center = self.numbers(entry["center"], (2,), f"the center of entry {number}") - 1
            center[1] += 15 * scale
            joints = entry.get("joints")
            if joints is None:  # the test set
                joints, visible = np.zeros((len(_NAMES), 2)), np.zeros(len(_NAMES))
            else:
                self.check_keys(entry, ("joints", "joints_vis"), f"entry {number}")
                joints = self.numbers(joints, (-1, 2), f"the joints of entry {number}") - 1
                visible = entry["joints_vis"]
            side = 200 * scale
            facts = dict(
                bbox=np.concatenate([center - side / 2, center + side / 2])[None].astype(np.float32)
            )
            if heads is not None:
                facts["head_size"] = float(heads[number])
            people.append(
                self.person(entry["image"], joints, visible, id=number, img_id=number, **facts)
            )
        return people

    def _head_lengths(self, count: int) -> np.ndarray | None:
        """0.6 of the diagonals of the heads' boxes in pixels, as MPII's evaluation has it."""
        if not self.headbox_file:
            return None
        from scipy.io import loadmat

        path = os.path.join(self.data_root or "", self.headbox_file)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path} is missing; PCKh needs mpii_gt_val.mat.")
        boxes = loadmat(path)["headboxes_src"]
        if boxes.shape != (2, 2, count):
            raise ValueError(
                f"expected headboxes_src of (2, 2, {count}) in {path}, got {boxes.shape}; the json "
                "and the mat must be of one split."
            )
        return 0.6 * np.linalg.norm(boxes[1] - boxes[0], axis=0)
