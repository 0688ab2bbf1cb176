"""The blocks of a frame that were executed, drawn into it."""

from __future__ import annotations

import cv2
import numpy as np

OUTLINE = (60, 220, 255)  # BGR
_SHADOW = (20, 20, 20)


def draw_blocks(
    image: np.ndarray,
    executed: np.ndarray,
    block: tuple[float, float],
    fade: float = 0.45,
    outline: tuple[int, int, int] = OUTLINE,
) -> np.ndarray:
    """Leaves executed blocks as they are, fades copied ones, and draws a line between the two.

    A frame that was executed whole comes back with a line around it and nothing else changed.

    Args:
        image: (H, W, 3) uint8, BGR.
        executed: (GH, GW) bool.
        block: Height and width of a block in pixels of `image`; need not be whole numbers.
        fade: How far copied blocks lose colour and light, 0 to 1.
        outline: Colour of the line, BGR.

    Returns:
        A new picture of the same size.
    """
    height, width = image.shape[:2]
    executed = np.asarray(executed, bool)
    rows, columns = (
        _edges(executed.shape[0], block[0], height),
        _edges(executed.shape[1], block[1], width),
    )
    mask = np.zeros((height, width), bool)
    for y, x in np.argwhere(executed):
        mask[rows[y] : rows[y + 1], columns[x] : columns[x + 1]] = True
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None].astype(np.float32)
    faded = (image * (1 - fade) + grey * fade) * (1 - 0.45 * fade)
    drawn = np.where(mask[..., None], image, faded.astype(np.uint8))
    thick = max(1, round(min(height, width) / 220))
    for color, wide in ((_SHADOW, thick + 2), (outline, thick)):
        for start, end in _borders(executed, rows, columns):
            cv2.line(drawn, start, end, color, wide)
    return drawn


def shade_cells(
    image: np.ndarray,
    values: np.ndarray,
    block: tuple[float, float],
    opacity: float = 0.6,
    limits: tuple[float, float] | None = None,
) -> np.ndarray:
    """A picture with a number for every cell as colour, from the lowest (dark) to the highest.

    Args:
        image: (H, W, 3) uint8, BGR.
        values: (GH, GW) float; what is not finite counts as the lowest.
        block: Height and width of a block in pixels of `image`.
        opacity: Of the colour, 0 to 1.
        limits: What the darkest and the brightest colour stand for; by default the lowest and the
            highest of the numbers.
    """
    height, width = image.shape[:2]
    values = np.asarray(values, np.float32)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    low, high = limits or (low, high)
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / max(
        high - low, 1e-12
    )
    colors = cv2.applyColorMap((scaled.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    rows, columns = (
        _edges(values.shape[0], block[0], height),
        _edges(values.shape[1], block[1], width),
    )
    field = colors[
        np.repeat(np.arange(values.shape[0]), np.diff(rows))[:, None],
        np.repeat(np.arange(values.shape[1]), np.diff(columns))[None],
    ]
    shaded = image.copy()
    covered = shaded[: field.shape[0], : field.shape[1]]
    covered[:] = covered * (1 - opacity) + field * opacity
    return shaded


def _edges(cells: int, side: float, limit: int) -> list[int]:
    """Where the cells begin along a side, and where the last ends, cut to the picture."""
    return [min(limit, round(k * side)) for k in range(cells + 1)]


def _borders(executed: np.ndarray, rows: list[int], columns: list[int]):
    """Line segments between executed cells and the others; the picture's edge counts as other."""
    bottom, right = rows[-1] - 1, columns[-1] - 1
    padded = np.pad(executed, 1)
    for y, x in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]):
        line = min(rows[y], bottom)
        yield (columns[x], line), (min(columns[x + 1], right), line)
    for y, x in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]):
        line = min(columns[x], right)
        yield (line, rows[y]), (line, min(rows[y + 1], bottom))
