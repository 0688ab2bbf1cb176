"""Leeds Sports Pose, extended: one person an image."""

from __future__ import annotations

from mmdyn.datasets.pose.base import PoseDataset, mirrored
from mmdyn.registry import DATASETS

_NAMES = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
    "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
    "neck", "head_top",
)  # fmt: skip


@DATASETS.register_module()
class LspetDataset(PoseDataset):
    """People of the extended Leeds Sports Pose set, from a json of 14 joints each.

    The json is a list of ``file``, ``width``, ``height``, ``split`` and ``joints`` (14 times x, y,
    visible). Joints outside of the image and people without two visible joints are not used.

    Args:
        split (str): 'train' or 'test'. Default 'train'.
        **kwargs: See ``mmengine.dataset.BaseDataset``.
    """

    METAINFO = dict(
        dataset_name="lspet",
        keypoint_names=_NAMES,
        flip_indices=mirrored(_NAMES),
        # Ends of the torso: the first pair that is visible gives its length.
        torso=((9, 2), (8, 3)),
    )

    def __init__(self, split: str = "train", **kwargs) -> None:
        if split not in ("train", "test"):
            raise ValueError(f"split must be 'train' or 'test', got {split!r}.")
        self.split = split
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """The people of the split."""
        people = []
        needed = ("file", "width", "height", "split", "joints")
        for number, entry in enumerate(self.read_entries(needed)):
            if entry["split"] != self.split:
                continue
            joints = self.numbers(entry["joints"], (-1, 3), f"the joints of entry {number}")
            sides = (entry["width"], entry["height"])
            size = self.numbers(sides, (2,), f"width and height of entry {number}")
            inside = ((joints[:, :2] >= 0) & (joints[:, :2] < size)).all(1)
            visible = (joints[:, 2] > 0) & inside
            if visible.sum() >= 2:
                people.append(
                    self.person(entry["file"], joints[:, :2], visible, id=number, img_id=number)
                )
        return people
