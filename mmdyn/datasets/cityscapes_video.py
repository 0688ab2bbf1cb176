"""Cityscapes' snippets: the frames that lead up to each labelled one."""

from __future__ import annotations

import os
import re
from collections import defaultdict

from mmengine import fileio, list_from_file
from mmseg.datasets import CityscapesDataset

from mmdyn.datasets.video_frames import VideoFrames, count_frames
from mmdyn.registry import DATASETS

_NAME = re.compile(r"^(?P<sequence>.+)_(?P<number>\d+)$")


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
            for start, end in self._windows(labelled[sequence], present[sequence]):
                missing = [k for k in range(start, end) if k not in present[sequence]]
                if missing:
                    raise FileNotFoundError(
                        f"{self._image(sequence, missing[0], 6)} is missing, but labels or "
                        "neighbouring frames are there; unpack leftImg8bit_sequence_trainvaltest "
                        "completely, or list other frames in ann_file."
                    )
                digits = present[sequence]
                name = f"{os.path.basename(sequence)}_{start:0{digits[start]}d}"
                for place, number in enumerate(range(start, end)):
                    truth = labelled[sequence].get(number)
                    frames.append(self._frame(sequence, number, digits[number], truth))
                    frames[-1].update(video_id=name, frame_id=place)
        return count_frames(frames)

    def _frame(self, sequence: str, number: int, digits: int, truth: str | None) -> dict:
        frame = dict(
            img_path=self._image(sequence, number, digits),
            label_map=self.label_map,
            reduce_zero_label=self.reduce_zero_label,
            seg_fields=[],
            labelled=truth is not None,
        )
        return frame if truth is None else {**frame, "seg_map_path": truth}

    def _image(self, sequence: str, number: int, digits: int) -> str:
        folder = self.data_prefix["img_path"]
        return os.path.join(folder, f"{sequence}_{number:0{digits}d}{self.img_suffix}")

    def _labelled(self) -> dict[str, dict[int, str]]:
        """Sequence to {number of a labelled frame: path of its labels}."""
        folder = self.data_prefix["seg_map_path"]
        if self.ann_file:
            stems = [line.strip() for line in list_from_file(self.ann_file) if line.strip()]
        else:
            stems = self._stems(folder, self.seg_map_suffix)
        if not stems:
            raise FileNotFoundError(
                f"no *{self.seg_map_suffix} below {folder}; unpack gtFine_trainvaltest there and "
                "make the train ids with cityscapesscripts (createTrainIdLabelImgs)."
            )
        found: dict[str, dict[int, str]] = defaultdict(dict)
        for stem in stems:
            sequence, number, _ = _split(stem)
            found[sequence][number] = os.path.join(folder, stem + self.seg_map_suffix)
        return found

    def _present(self) -> dict[str, dict[int, int]]:
        """Sequence to {number of a frame: digits it is written with}."""
        found: dict[str, dict[int, int]] = defaultdict(dict)
        for stem in self._stems(self.data_prefix["img_path"], self.img_suffix):
            sequence, number, digits = _split(stem)
            found[sequence][number] = digits
        return found

    def _stems(self, folder: str, suffix: str) -> list[str]:
        try:
            names = list(
                fileio.list_dir_or_file(
                    folder, list_dir=False, suffix=suffix, recursive=True,
                    backend_args=self.backend_args,
                )
            )  # fmt: skip
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"folder {folder} is missing; set data_root and data_prefix to where Cityscapes is."
            ) from error
        return sorted(name[: -len(suffix)] for name in names)

    def _windows(self, labelled: dict[int, str], present: dict[int, int]) -> list[list[int]]:
        """[start, end) of the clips of one sequence; a snippet may begin or end sooner."""
        windows: list[list[int]] = []
        for number in sorted(labelled):
            wanted = range(number - self.clip_length + 1, number + self.frames_after + 1)
            there = [k for k in wanted if k in present] + [number]
            start, end = min(there), max(there) + 1
            if windows and start <= windows[-1][1]:
                windows[-1][1] = max(end, windows[-1][1])
            else:
                windows.append([start, end])
        return windows


def _split(stem: str) -> tuple[str, int, int]:
    """'city/city_000000_000019' to the sequence, the frame's number and its digits."""
    match = _NAME.match(stem)
    if match is None:
        raise ValueError(
            f"expected a name like city/city_000000_000019, got '{stem}'; rename the file or take "
            "it out of the folder or list."
        )
    return match["sequence"], int(match["number"]), len(match["number"])
