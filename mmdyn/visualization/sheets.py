"""Several pictures on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from mmdyn.visualization.panels import DIM, INK, PAPER, font


def compose_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    title: str = "",
    caption: str = "",
    width: int = 1600,
    gap: int = 8,
) -> np.ndarray:
    """Rows of pictures of one size on a dark sheet, with a title above and a caption below.

    Args:
        rows: Pictures (H, W, 3) uint8, BGR; all are scaled to the width of a column.
        title: Above the pictures.
        caption: Below them, wrapped at the sheet's width.
        width: Of the sheet in pixels.
        gap: Between pictures in pixels.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        ValueError: If there is no picture.
    """
    columns = max((len(row) for row in rows), default=0)
    if not columns:
        raise ValueError("expected at least one picture for the sheet, got none.")
    side = (width - gap * (columns + 1)) // columns
    scaled = [[_to_width(picture, side) for picture in row] for row in rows]
    heights = [max(picture.shape[0] for picture in row) for row in scaled if row]
    lines = _wrapped(caption, width - 4 * gap)
    top = 44 if title else gap
    sheet = Image.new(
        "RGB", (width, top + sum(heights) + gap * len(heights) + 22 * len(lines) + gap), PAPER
    )
    pen = ImageDraw.Draw(sheet)
    pen.text((gap + 4, 10), title, INK, font(20, bold=True))
    y = top
    for row, height in zip([row for row in scaled if row], heights, strict=True):
        for k, picture in enumerate(row):
            sheet.paste(Image.fromarray(picture[..., ::-1]), (gap + k * (side + gap), y))
        y += height + gap
    for line in lines:
        pen.text((gap + 4, y), line, DIM, font(15))
        y += 22
    return np.ascontiguousarray(np.asarray(sheet)[..., ::-1])


def _to_width(picture: np.ndarray, width: int) -> np.ndarray:
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    shrinks = width < picture.shape[1]
    return cv2.resize(
        picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font(15).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
