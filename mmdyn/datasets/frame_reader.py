"""Frames of a video file, exactly and in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import cv2
import numpy as np


class FrameReader:
    """Reads frame k of a video file by decoding up to it: never by seeking, which is inexact.

    Going on is quick; going back starts the file again. It can be pickled and used after a fork:
    each process opens the file for itself.

    Args:
        path (str): The video.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If OpenCV cannot decode it.
    """

    def __init__(self, path: str) -> None:
        self.path = os.fspath(path)
        if not os.path.isfile(self.path):
            raise FileNotFoundError(f"video {self.path} is missing; check the path.")
        self._capture, self._process, self._next = None, -1, 0
        self._inherited: list[cv2.VideoCapture] = []
        capture = self._open()
        self.fps = float(capture.get(cv2.CAP_PROP_FPS)) or 25.0
        self.size = (
            int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        )
        self._length = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if self._length <= 0:
            self._length = self._count()
        self._close()

    def __len__(self) -> int:
        """Frames, as the file's header says; counted where it says nothing."""
        return self._length

    def __getitem__(self, index: int) -> np.ndarray:
        """Frame ``index`` (H, W, 3) uint8, BGR."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {self.path}, which has {len(self)} frames.")
        if self._process != os.getpid() or index < self._next:
            self._open()
        while self._next < index and self._capture.grab():
            self._next += 1
        read, image = self._capture.read() if self._next == index else (False, None)
        if not read:
            raise OSError(
                f"{self.path}: frame {self._next} of {len(self)} cannot be decoded; encode the "
                "video anew, or end the clip before it."
            )
        self._next += 1
        return image

    def __getstate__(self) -> dict:
        return {**vars(self), "_capture": None, "_process": -1, "_next": 0, "_inherited": []}

    def _open(self) -> cv2.VideoCapture:
        self._close()
        self._capture, self._process, self._next = cv2.VideoCapture(self.path), os.getpid(), 0
        if not self._capture.isOpened():
            raise OSError(
                f"OpenCV cannot decode {self.path}; encode it anew, for instance with "
                "`ffmpeg -i IN -c:v libx264 OUT.mp4`."
            )
        return self._capture

    def _close(self) -> None:
        if self._capture is not None and self._process == os.getpid():
            self._capture.release()
        elif self._capture is not None:
            # Opened before a fork: releasing it would wait for threads this process has not got.
            self._inherited.append(self._capture)
        self._capture, self._process = None, -1

    def _count(self) -> int:
        frames = 0
        while self._capture.grab():
            frames += 1
        return frames


def extract_frames(
    video: str,
    folder: str,
    name: str = "{:06d}.jpg",
    first: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
) -> list[str]:
    """Writes every frame of a video as an image; images that are there already are kept.

    Args:
        video (str): The video.
        folder (str): Where to write; it is made.
        name (str): File name with the number. Default '{:06d}.jpg' (quality 95).
        first (int): Number of the first frame. Default 1, as in MOT.
        progress (Callable): Wraps the frames, for a progress bar. Default ``iter``.

    Returns:
        list: The paths of the images, in order.
    """
    reader = FrameReader(video)
    os.makedirs(folder, exist_ok=True)
    paths = [os.path.join(folder, name.format(first + k)) for k in range(len(reader))]
    for index, path in progress(list(enumerate(paths))):
        if os.path.exists(path):
            continue
        if not cv2.imwrite(path, reader[index], [cv2.IMWRITE_JPEG_QUALITY, 95]):
            raise OSError(f"could not write {path}; is the folder writable?")
    return paths
