"""What all datasets of videos share: frames that know their clip, errors that name their file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

import mmcv
from mmcv.transforms import LoadAnnotations
from mmengine import fileio
from mmengine.dataset import Compose

IDENTITY = ("video_id", "frame_id", "video_length")


class VideoFrames:
    """Mixed into a dataset whose ``data_list`` holds the frames of clips, in order.

    Each ``data_info`` needs ``video_id`` and ``frame_id``, and may have ``video_length`` and
    ``labelled``. Every sample then carries the three in its metainfo, whatever the pipeline packs.
    A frame with ``labelled=False`` goes through the pipeline without the steps that load
    annotations. Training (``test_mode=False``) leaves such frames out.
    """

    @property
    def clips(self) -> list[tuple[int, int]]:
        """Where each clip begins and ends (exclusive) among the samples."""
        return runs([self.get_data_info(index)["video_id"] for index in range(len(self))])

    def filter_data(self) -> list[dict]:
        """The frames the dataset is made of; training needs labels."""
        frames = super().filter_data()
        if self.test_mode:
            return frames
        labelled = [frame for frame in frames if frame.get("labelled", True)]
        if not labelled:
            raise ValueError(
                f"{type(self).__name__} has no labelled frame to train on; check its annotations, "
                "or set test_mode=True."
            )
        return labelled

    def prepare_data(self, index: int) -> dict:
        """One frame through the pipeline, with its identity.

        Raises:
            OSError: If the frame's file is missing, empty or broken; the message names it.
        """
        frame = self.get_data_info(index)
        identity = {key: frame[key] for key in IDENTITY if key in frame}
        try:
            packed = self.pipeline_for(frame)(frame)
        except Exception as error:
            fault = self._explained(identity, frame)
            if fault is None:
                raise
            raise fault from error
        if packed is None and self.test_mode:
            raise self._explained(identity, frame) or ValueError(
                f"the pipeline returned nothing for {frame.get('img_path')}, yet a clip needs "
                "every frame; take the step that drops frames out of the test pipeline."
            )
        if packed is not None and "data_samples" in packed:
            packed["data_samples"].set_metainfo(identity)
        return packed

    def pipeline_for(self, frame: dict) -> Compose:
        """The pipeline, without the steps that this frame has no data for."""
        if frame.get("labelled", True):
            return self.pipeline
        return without(self.pipeline, LoadAnnotations)

    def _explained(self, identity: dict, frame: dict) -> OSError | None:
        """Why a frame cannot be read, or None if its file is sound."""
        path = frame.get("img_path")
        fault = file_fault(path, getattr(self, "backend_args", None)) if path else None
        if fault is None:
            return None
        return OSError(
            f"frame {identity.get('frame_id')} of clip {identity.get('video_id')!r}: {path} "
            f"{fault}; restore the file, or leave its clip out of the dataset."
        )


def without(pipeline: Compose, *kinds: type) -> Compose:
    """A pipeline's steps except those of some kinds."""
    return Compose([step for step in pipeline.transforms if not isinstance(step, kinds)])


def runs(names: list) -> list[tuple[int, int]]:
    """(start, end) of each stretch of equal names."""
    starts = [k for k, name in enumerate(names) if k == 0 or names[k - 1] != name]
    return list(zip(starts, [*starts[1:], len(names)], strict=False))


def count_frames(frames: list[dict]) -> list[dict]:
    """Adds ``video_length`` to frames that are sorted by clip, and returns them."""
    for start, end in runs([frame["video_id"] for frame in frames]):
        for frame in frames[start:end]:
            frame["video_length"] = end - start
    return frames


def file_fault(path: str, backend_args: dict | None = None) -> str | None:
    """What is wrong with an image file: 'is missing', 'is empty', 'is not a readable image'."""
    try:
        content = fileio.get(path, backend_args=backend_args)
    except OSError:
        return "is missing or may not be read"
    if not content:
        return "is empty"
    image = mmcv.imfrombytes(content, backend="cv2")
    return "is not a readable image" if image is None else None


def natural_order(names: Iterable[str]) -> list[str]:
    """Sorted with numbers by their value: frame2 comes before frame10."""

    def key(name: str) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", os.fspath(name))
        return [(0, int(x), "") if x.isdigit() else (1, 0, x) for x in parts if x]

    return sorted(names, key=lambda name: (key(name), name))
