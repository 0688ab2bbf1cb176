"""CamVid (480x360, SegNet's split) as clips: a mmseg dataset that also knows its frames."""

from __future__ import annotations

import re

from mmseg.datasets import BaseSegDataset

from mmdyn.datasets.video_frames import VideoFrames, count_frames
from mmdyn.registry import DATASETS

_FRAME = re.compile(r"^(?P<clip>.+)_f?(?P<number>\d+)$")


@DATASETS.register_module()
class CamVidVideoDataset(VideoFrames, BaseSegDataset):
    """CamVid with 11 classes and void, each image with its clip and its place in it.

    The SegNet version: ``<split>/*.{png,jpg}`` beside ``<split>annot/*.png`` with the indices
    0 to 10 for the classes and 11 for void, which is ignored. ``video_id`` is the drive
    (``0016E5``) and ``frame_id`` the number in the file's name, so a list of consecutive names is
    a clip.

    Args:
        img_suffix (str): Ending of the images. Default '.png'.
        seg_map_suffix (str): Ending of the label maps. Default '.png'.
        **kwargs: See ``mmseg.datasets.BaseSegDataset``.
    """

    METAINFO = dict(
        classes=(
            "sky", "building", "pole", "road", "pavement", "tree",
            "sign", "fence", "car", "pedestrian", "bicyclist",
        ),
        palette=[
            [128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222],
            [128, 128, 0], [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0],
            [0, 128, 192],
        ],
    )  # fmt: skip

    def __init__(self, img_suffix: str = ".png", seg_map_suffix: str = ".png", **kwargs) -> None:
        kwargs.setdefault("ignore_index", 255)
        super().__init__(
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            reduce_zero_label=False,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Adds ``video_id`` and ``frame_id`` and maps void (11) to the ignored index."""
        frames = super().load_data_list()
        for frame in frames:
            stem = frame["img_path"].rsplit("/", 1)[-1].rsplit(".", 1)[0]
            match = _FRAME.match(stem)
            frame["video_id"] = match["clip"] if match else stem
            frame["frame_id"] = int(match["number"]) if match else 0
            frame["label_map"] = {**(frame["label_map"] or {}), len(self.METAINFO["classes"]): 255}
        return count_frames(frames)
