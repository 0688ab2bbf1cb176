"""Words and bars beside a picture."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, DIM = (24, 24, 27), (240, 240, 240), (160, 160, 165)  # RGB
BAR = (255, 190, 40)


@lru_cache(maxsize=32)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def add_title(image: np.ndarray, text: str, note: str = "", size: int = 15) -> np.ndarray:
    """The picture with a strip above it: a title at the left, a note at the right.

    Args:
        image: (H, W, 3) uint8, BGR.
        text: The title.
        note: Smaller words at the right; cut where they do not fit.
        size: Height of the letters in pixels.
    """
    strip = Image.new("RGB", (image.shape[1], size + 12), PAPER)
    pen = ImageDraw.Draw(strip)
    pen.text((8, 5), text, INK, font(size, bold=True))
    left = 8 + pen.textlength(text, font(size, bold=True)) + 12
    small = font(size - 2)
    while note and pen.textlength(note, small) > image.shape[1] - 8 - left:
        note = note[:-1]
    pen.text((image.shape[1] - 8 - pen.textlength(note, small), 7), note, DIM, small)
    return np.vstack([_to_bgr(strip), image])


def add_panel(
    image: np.ndarray,
    facts: dict[str, str],
    share: float | None = None,
    budget: float | None = None,
    size: int = 15,
) -> np.ndarray:
    """The picture with a strip below it: named numbers, and a bar of the share executed.

    Args:
        image: (H, W, 3) uint8, BGR.
        facts: Name to what is written under it, from left to right; what does not fit is left out.
        share: Length of the bar, 0 to 1; None draws none.
        budget: A mark on the bar, 0 to 1.
        size: Height of the letters in pixels.
    """
    width, bar = image.shape[1], 8 if share is not None else 0
    strip = Image.new("RGB", (width, 2 * size + 22 + bar), PAPER)
    pen = ImageDraw.Draw(strip)
    if share is not None:
        pen.rectangle((0, 0, width, bar - 2), (60, 60, 66))
        pen.rectangle((0, 0, round(share * (width - 1)), bar - 2), BAR)
        if budget is not None:
            mark = round(budget * (width - 1))
            pen.rectangle((mark - 1, 0, mark + 1, bar), INK)
    left = 10.0
    for name, value in facts.items():
        wide = max(pen.textlength(name, font(size - 3)), pen.textlength(value, font(size, True)))
        if left + wide > width - 6:
            break
        pen.text((left, bar + 5), name, DIM, font(size - 3))
        pen.text((left, bar + size + 6), value, INK, font(size, bold=True))
        left += wide + 1.4 * size
    return np.vstack([image, _to_bgr(strip)])


def add_label(
    image: np.ndarray, text: str, corner: tuple[int, int], color: tuple[int, int, int]
) -> np.ndarray:
    """Small words on a coloured plate above a point, or below it at the upper edge."""
    letters = font(max(10, round(min(image.shape[:2]) / 45)))
    left, top, right, bottom = letters.getbbox(text)
    wide, high = right + 6, bottom + 4
    x = int(np.clip(corner[0], 0, max(image.shape[1] - wide, 0)))
    y = corner[1] - high if corner[1] >= high else corner[1]
    y = int(np.clip(y, 0, max(image.shape[0] - high, 0)))
    plate = Image.new("RGB", (wide, high), color[::-1])
    dark = cv2.cvtColor(np.uint8([[color]]), cv2.COLOR_BGR2GRAY)[0, 0] > 110
    ImageDraw.Draw(plate).text((3, 1), text, (0, 0, 0) if dark else (255, 255, 255), letters)
    drawn = image.copy()
    place = drawn[y : y + high, x : x + wide]
    place[:] = _to_bgr(plate)[: place.shape[0], : place.shape[1]]
    return drawn


def _to_bgr(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture)[..., ::-1]
