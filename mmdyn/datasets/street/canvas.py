"""What a street is painted on: the picture and its labels, written by the same strokes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

Region = tuple[slice, slice]

UNPAINTED = 255  # trainId of pixels no stroke has labelled


class Canvas:
    """A picture (RGB, 0 to 255) with a class and an instance for every pixel.

    Strokes come in painter's order, far to near. A stroke blends its colour by its coverage of
    each pixel and takes over the label of the pixels it covers by half or more, so that labels
    are those of what is seen.

    Args:
        height (int): Rows.
        width (int): Columns.
    """

    def __init__(self, height: int, width: int) -> None:
        self.image = np.zeros((height, width, 3), np.float32)
        self.semantic = np.full((height, width), UNPAINTED, np.uint8)
        self.instance = np.zeros((height, width), np.int32)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.semantic.shape

    def region(self, outline: np.ndarray | None) -> Region | None:
        """Rows and columns that hold an outline (K, 2), cut to the image; None if it is outside."""
        if outline is None or len(outline) < 3:
            return None
        height, width = self.size
        x0, y0 = np.floor(outline.min(axis=0)).clip(0, (width, height)).astype(int)
        x1, y1 = np.ceil(outline.max(axis=0)).clip(0, (width, height)).astype(int)
        return (slice(y0, y1), slice(x0, x1)) if x1 > x0 and y1 > y0 else None

    def coverage(self, outline: np.ndarray, region: Region) -> np.ndarray:
        """Share (h, w) in [0, 1] of each pixel of a region inside an outline (K, 2)."""
        rows, columns = region
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        fine = 4 if shape[0] * shape[1] < 1 << 16 else 2
        mask = np.zeros((shape[0] * fine, shape[1] * fine), np.uint8)
        corners = ((outline - (columns.start, rows.start)) * fine - 0.5) * 16
        limit = 1 << 20  # keeps OpenCV's fixed-point edges from overflowing
        corners = np.round(corners.clip(-limit, limit)).astype(np.int32)
        cv2.fillPoly(mask, [corners], 255, cv2.LINE_8, 4)
        return cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255

    def paint(
        self,
        region: Region,
        coverage: np.ndarray,
        colour: np.ndarray,
        label: int | None,
        instance: int = 0,
        opacity: float = 1.0,
    ) -> None:
        """Blends a colour ((3,) or (h, w, 3)) into a region and labels what it covers.

        Args:
            region (tuple): Rows and columns.
            coverage (np.ndarray): (h, w) in [0, 1].
            colour (np.ndarray): RGB, 0 to 255.
            label (int | None): trainId, or None to leave the labels as they are.
            instance (int): The object's number in the clip; 0 for stuff.
            opacity (float): Scales the colour's share, not the label's. Default 1.
        """
        under = self.image[region]
        under += (np.asarray(colour, np.float32) - under) * (coverage * opacity)[..., None]
        if label is not None:
            covered = coverage >= 0.5
            self.semantic[region][covered] = label
            self.instance[region][covered] = instance

    def polygon(
        self,
        outline: np.ndarray | None,
        colour: Sequence[float],
        label: int | None,
        instance: int = 0,
        below: Sequence[float] | None = None,
        opacity: float = 1.0,
    ) -> None:
        """Fills an outline (K, 2); ``colour`` at its top fades to ``below``, if given."""
        region = self.region(outline)
        if region is None:
            return
        fill = np.asarray(colour, np.float32)
        if below is not None:
            top, bottom = outline[:, 1].min(), outline[:, 1].max()
            rows = np.arange(region[0].start, region[0].stop) + 0.5
            share = np.clip((rows - top) / max(bottom - top, 1e-3), 0, 1)[:, None, None]
            fill = fill + (np.asarray(below, np.float32) - fill) * share.astype(np.float32)
        self.paint(region, self.coverage(outline, region), fill, label, instance, opacity)

    def darken(self, outlines: Sequence[np.ndarray | None], strength: float, blur: float) -> None:
        """Multiplies the picture under soft-edged outlines by 1 - strength; labels stay."""
        known = [x for x in outlines if x is not None and len(x) >= 3]
        if not known:
            return
        margin = 3 * blur + 1
        corners = np.concatenate(known)
        low, high = corners.min(axis=0) - margin, corners.max(axis=0) + margin
        region = self.region(np.array([low, high, low]))
        if region is None:
            return
        shade = np.zeros((region[0].stop - region[0].start, region[1].stop - region[1].start))
        shade = shade.astype(np.float32)
        for outline in known:
            shade = np.maximum(shade, self.coverage(outline, region))
        shade = cv2.GaussianBlur(shade, (0, 0), max(blur, 0.3))
        self.image[region] *= 1 - strength * shade[..., None]
