"""A video file as a clip."""

from __future__ import annotations

import os

import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine.dataset import BaseDataset, Compose

from mmdyn.datasets.frame_reader import FrameReader
from mmdyn.datasets.video_frames import VideoFrames, count_frames, without
from mmdyn.registry import DATASETS


@DATASETS.register_module()
class VideoFileDataset(VideoFrames, BaseDataset):
    """The frames of a video file, decoded as they are asked for, without labels.

    ``video_id`` is the file's name and ``frame_id`` the frame's number in the file. Any test
    pipeline of mmdet or mmseg will do: the steps that load images and annotations are left out.
    Frames are decoded in order and never sought; with several workers each decodes the file.

    Args:
        video (str): The file, below ``data_root`` if that is given.
        data_root (str | None): A folder. Default None.
        start (int): First frame. Default 0.
        end (int | None): Frame to stop before; None for the end. Default None.
        step (int): Takes every step-th frame. Default 1.
        metainfo (dict | None): ``classes`` and ``palette``, for drawing. Default None.
        pipeline (list): Any test pipeline. Default [].
        **kwargs: See ``mmengine.dataset.BaseDataset``.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it cannot be decoded.
        ValueError: If no frame is left between start and end.
    """

    def __init__(
        self,
        video: str,
        data_root: str | None = None,
        start: int = 0,
        end: int | None = None,
        step: int = 1,
        metainfo: dict | None = None,
        pipeline: list | None = None,
        **kwargs,
    ) -> None:
        self.reader = FrameReader(os.path.join(data_root or "", os.fspath(video)))
        self.chosen = range(len(self.reader))[start:end:step]
        if not len(self.chosen) or step < 1:
            raise ValueError(
                f"no frame of {self.reader.path} ({len(self.reader)} frames) from start={start} "
                f"to end={end} by step={step}; choose a range inside the video, step >= 1."
            )
        kwargs.setdefault("test_mode", True)
        super().__init__(metainfo=metainfo, pipeline=pipeline or [], **kwargs)

    @property
    def fps(self) -> float:
        """Frames a second of what the dataset yields."""
        return self.reader.fps / self.chosen.step

    def load_data_list(self) -> list[dict]:
        """One entry a frame."""
        name = os.path.basename(self.reader.path)
        return count_frames(
            [
                dict(img_id=k, video_id=name, frame_id=k, labelled=False, path=self.reader.path)
                for k in self.chosen
            ]
        )

    def filter_data(self) -> list[dict]:
        """All frames: there is nothing to train on."""
        if not self.test_mode:
            raise ValueError("a video file has no labels; set test_mode=True.")
        return self.data_list

    def get_data_info(self, index: int) -> dict:
        """One frame with its pixels: ``img`` (H, W, 3), BGR."""
        frame = super().get_data_info(index)
        image = self.reader[frame["frame_id"]]
        if any(getattr(s, "to_float32", False) for s in self.pipeline.transforms):
            image = image.astype(np.float32)
        shape = image.shape[:2]
        return {**frame, "img": image, "img_shape": shape, "ori_shape": shape,
                "height": shape[0], "width": shape[1], "img_path": frame["path"]}  # fmt: skip

    def pipeline_for(self, frame: dict) -> Compose:
        """The pipeline from the picture on."""
        return without(self.pipeline, LoadImageFromFile, LoadAnnotations)

    @property
    def clips(self) -> list[tuple[int, int]]:
        """All frames are one clip."""
        return [(0, len(self))]
