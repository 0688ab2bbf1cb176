"""A folder of frames as a clip."""

from __future__ import annotations

import os
import re

from mmengine import fileio
from mmengine.dataset import BaseDataset

from mmdyn.datasets.video_frames import VideoFrames, count_frames, natural_order
from mmdyn.registry import DATASETS

_CITYSCAPES = re.compile(r"^(?P<clip>[^_]+_\d{6})_\d{6}_leftImg8bit\.")
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@DATASETS.register_module()
class FrameFolderDataset(VideoFrames, BaseDataset):
    """Images of a folder in natural order (frame2 before frame10), without labels.

    A folder is a clip; with folders below it, each of these that holds images is a clip, too. In a
    folder of Cityscapes' names each sequence is one. ``video_id`` is the folder below ``data_root``
    ('.' for itself), and the sequence in it; ``frame_id`` counts from 0.

    Args:
        data_root (str): The folder.
        metainfo (dict | None): ``classes`` and ``palette``, for drawing. Default None.
        pipeline (list): Any test pipeline of mmdet or mmseg; steps that load annotations are left
            out. Default [].
        suffixes (tuple): Endings of the images. Default the usual ones.
        backend_args (dict | None): How to read files, see mmengine. Default None.
        **kwargs: See ``mmengine.dataset.BaseDataset``.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
    """

    def __init__(
        self,
        data_root: str,
        metainfo: dict | None = None,
        pipeline: list | None = None,
        suffixes: tuple[str, ...] = IMAGES,
        backend_args: dict | None = None,
        **kwargs,
    ) -> None:
        self.suffixes, self.backend_args = tuple(x.lower() for x in suffixes), backend_args
        kwargs.setdefault("test_mode", True)
        kwargs.setdefault("data_prefix", dict(img_path=""))
        super().__init__(
            data_root=os.fspath(data_root), metainfo=metainfo, pipeline=pipeline or [], **kwargs
        )

    def load_data_list(self) -> list[dict]:
        """The images, folder after folder."""
        folder = self.data_prefix["img_path"]
        if not fileio.isdir(folder, backend_args=self.backend_args):
            raise FileNotFoundError(f"folder {folder} is missing; set data_root to the frames.")
        names = fileio.list_dir_or_file(
            folder, list_dir=False, recursive=True, backend_args=self.backend_args
        )
        clips: dict[str, list[str]] = {}
        for name in names:
            if name.lower().endswith(self.suffixes):
                clips.setdefault(_clip_of(name), []).append(name)
        if not clips:
            raise FileNotFoundError(
                f"no image ({', '.join(self.suffixes)}) in {folder}; extract the video's frames "
                "there, or use mmdyn.VideoFileDataset for the video itself."
            )
        frames = [
            dict(img_path=os.path.join(folder, name), video_id=clip, frame_id=k, labelled=False)
            for clip in natural_order(clips)
            for k, name in enumerate(natural_order(clips[clip]))
        ]
        for number, frame in enumerate(frames):
            frame["img_id"] = number
        return count_frames(frames)

    def filter_data(self) -> list[dict]:
        """All frames: there is nothing to train on."""
        if not self.test_mode:
            raise ValueError("a folder of frames has no labels; set test_mode=True.")
        return self.data_list


def _clip_of(name: str) -> str:
    """The clip of an image, by its name below the root."""
    folder, file = os.path.split(name)
    sequence = _CITYSCAPES.match(file)
    return os.path.join(folder, sequence["clip"]) if sequence else folder or "."
