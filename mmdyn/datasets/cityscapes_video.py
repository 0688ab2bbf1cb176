"""Cityscapes' snippets: the frames that lead up to each labelled one."""

from __future__ import annotations

import os
from collections import defaultdict

from mmengine import list_from_file
from mmseg.datasets import CityscapesDataset

from mmdyn.datasets.cityscapes_clips import (
    frames_present,
    require_frames,
    split_name,
    stems_below,
    windows,
)
from mmdyn.datasets.video_frames import VideoFrames, count_frames
from mmdyn.registry import DATASETS


@DATASETS.register_module()
class CityscapesVideoDataset(VideoFrames, CityscapesDataset):
    """Clips of ``leftImg8bit_sequence`` that end on a labelled frame.

    A clip is the ``clip_length`` frames up to and with a labelled frame (the 20th of a snippet's
    30), and ``frames_after`` frames behind it. Overlapping clips are one. Unlabelled frames have
    no ``seg_map_path``; mmseg's pipelines are used as they are. ``video_id`` is
    ``<city>_<sequence>_<first frame>``, ``frame_id`` counts from 0, and ``video_length`` is the
    number of frames in the clip. In training only labelled frames are kept.

    Layout, below ``data_root``::

        leftImg8bit_sequence/<split>/<city>/<city>_<sequence>_<frame>_leftImg8bit.png
        gtFine/<split>/<city>/<city>_<sequence>_<frame>_gtFine_labelTrainIds.png

    Args:
        clip_length (int): Frames of a clip with its labelled one; fewer where a snippet begins
            later. Default 20.
        frames_after (int): Frames behind the labelled one. Default 0.
        data_prefix (dict): Folders of the frames and of the labels. Default those of 'val'.
        ann_file (str): A list of labelled frames (``<city>/<city>_<sequence>_<frame>`` a line);
            empty for all. Default ''.
        **kwargs: See ``mmseg.datasets.CityscapesDataset``.

    Raises:
        FileNotFoundError: If there are no labels, or a frame of a clip is missing.
    """

    def __init__(
        self,
        clip_length: int = 20,
        frames_after: int = 0,
        data_prefix: dict | None = None,
        **kwargs,
    ) -> None:
        if clip_length < 1 or frames_after < 0:
            raise ValueError(
                "expected clip_length >= 1 and frames_after >= 0, got "
                f"clip_length={clip_length} and frames_after={frames_after}."
            )
        self.clip_length, self.frames_after = clip_length, frames_after
        if data_prefix is None:
            data_prefix = dict(img_path="leftImg8bit_sequence/val", seg_map_path="gtFine/val")
        super().__init__(data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """The frames of all clips, clip after clip."""
        labelled, present = self._labelled(), self._present()
        frames = []
        for sequence in sorted(labelled):
            digits = present[sequence]
            clips = windows(labelled[sequence], digits, self.clip_length - 1, self.frames_after)
            for start, end in clips:
                require_frames(start, end, digits, self._image(sequence, "{number}"))
                name = f"{os.path.basename(sequence)}_{start:0{digits[start]}d}"
                for place, number in enumerate(range(start, end)):
                    truth = labelled[sequence].get(number)
                    frames.append(self._frame(sequence, number, digits[number], truth))
                    frames[-1].update(video_id=name, frame_id=place)
        return count_frames(frames)

    def _frame(self, sequence: str, number: int, digits: int, truth: str | None) -> dict:
        frame = dict(
            img_path=self._image(sequence, f"{number:0{digits}d}"),
            label_map=self.label_map,
            reduce_zero_label=self.reduce_zero_label,
            seg_fields=[],
            labelled=truth is not None,
        )
        return frame if truth is None else {**frame, "seg_map_path": truth}

    def _image(self, sequence: str, number: str) -> str:
        return os.path.join(self.data_prefix["img_path"], f"{sequence}_{number}{self.img_suffix}")

    def _labelled(self) -> dict[str, dict[int, str]]:
        """Sequence to {number of a labelled frame: path of its labels}."""
        folder = self.data_prefix["seg_map_path"]
        if self.ann_file:
            stems = [line.strip() for line in list_from_file(self.ann_file) if line.strip()]
        else:
            stems = stems_below(folder, self.seg_map_suffix, self.backend_args)
        if not stems:
            raise FileNotFoundError(
                f"no *{self.seg_map_suffix} below {folder}; unpack gtFine_trainvaltest there and "
                "make the train ids with cityscapesscripts (createTrainIdLabelImgs)."
            )
        found: dict[str, dict[int, str]] = defaultdict(dict)
        for stem in stems:
            sequence, number, _ = split_name(stem)
            found[sequence][number] = os.path.join(folder, stem + self.seg_map_suffix)
        return found

    def _present(self) -> dict[str, dict[int, int]]:
        """Sequence to {number of a frame: digits it is written with}."""
        folder = self.data_prefix["img_path"]
        return frames_present(stems_below(folder, self.img_suffix, self.backend_args))
