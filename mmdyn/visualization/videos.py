"""Pictures into a video file."""

from __future__ import annotations

import os

import cv2
import numpy as np


class FilmWriter:
    """Writes frames to a video file as they come; the file is opened by the first of them.

    Args:
        path: Ends in .mp4 (MPEG-4) or .avi (Motion JPEG, which every OpenCV can write).
        fps: Frames a second.

    Raises:
        ValueError: For another ending.
    """

    CODECS = {".mp4": "mp4v", ".avi": "MJPG"}

    def __init__(self, path: str | os.PathLike, fps: float = 25.0) -> None:
        self.path, self.fps = os.fspath(path), fps
        ending = os.path.splitext(self.path)[1].lower()
        if ending not in self.CODECS:
            raise ValueError(f"expected a path ending in .mp4 or .avi, got {self.path!r}.")
        self._codec = cv2.VideoWriter_fourcc(*self.CODECS[ending])
        self._film: cv2.VideoWriter | None = None
        self._size: tuple[int, int] = (0, 0)

    def write(self, image: np.ndarray) -> None:
        """Adds a frame (H, W, 3) uint8, BGR; later ones are brought to the first one's size.

        Raises:
            OSError: If OpenCV cannot write the file.
        """
        if self._film is None:
            self._open(image.shape[1] // 2 * 2, image.shape[0] // 2 * 2)
        if image.shape[1::-1] != self._size:
            fits = image.shape[1] // 2 * 2, image.shape[0] // 2 * 2
            image = (
                image[: self._size[1], : self._size[0]]
                if fits == self._size
                else cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
            )
        self._film.write(np.ascontiguousarray(image))

    def _open(self, width: int, height: int) -> None:
        os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
        self._size = (width, height)
        self._film = cv2.VideoWriter(self.path, self._codec, self.fps, self._size)
        if not self._film.isOpened():
            raise OSError(
                f"OpenCV cannot write {self.path}; is the folder writable? An .avi path needs no "
                "MPEG-4 encoder."
            )

    def close(self) -> None:
        """Ends the file."""
        if self._film is not None:
            self._film.release()
        self._film = None

    def __enter__(self) -> FilmWriter:
        return self

    def __exit__(self, *error) -> None:
        self.close()
