"""What a network said, drawn into the picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from mmdyn.visualization.blocks import draw_blocks
from mmdyn.visualization.panels import add_label


def draw_frame(
    image: np.ndarray,
    sample,
    executed: np.ndarray | None,
    block: tuple[float, float] = (0, 0),
    classes: Sequence[str] = (),
    palette: Sequence | None = None,
    threshold: float = 0.3,
) -> np.ndarray:
    """Prediction and executed blocks in one picture: boxes above the blocks, classes below them.

    Args:
        image: (H, W, 3) uint8, BGR.
        sample: See ``draw_prediction``.
        executed: (GH, GW) bool, or None for a dense frame.
        block: Height and width of a block in pixels of `image`.
        classes, palette, threshold: See ``draw_prediction``.
    """
    if executed is not None and "pred_sem_seg" not in sample:
        image = draw_blocks(image, executed, block)
    drawn = draw_prediction(image, sample, classes, palette, threshold)
    if executed is not None and "pred_sem_seg" in sample:
        drawn = draw_blocks(drawn, executed, block)
    return drawn


def draw_prediction(
    image: np.ndarray,
    sample,
    classes: Sequence[str] = (),
    palette: Sequence | None = None,
    threshold: float = 0.3,
) -> np.ndarray:
    """Draws what an mmdet or mmseg data sample predicts; other samples leave the picture as it is.

    Args:
        image: (H, W, 3) uint8, BGR, of the size that the predictions refer to.
        sample: A data sample with ``pred_sem_seg`` or ``pred_instances``.
        classes: Names of the classes.
        palette: RGB of each class; by default colours spread around the wheel.
        threshold: Lowest score of an instance that is drawn.
    """
    if "pred_sem_seg" in sample:
        labels = sample.pred_sem_seg.data.squeeze(0).cpu().numpy()
        return draw_semantic(image, labels, palette)
    if "pred_instances" not in sample:
        return image.copy()
    found = sample.pred_instances
    found = found[found.scores >= threshold].cpu()
    boxes = getattr(found.bboxes, "tensor", found.bboxes) if "bboxes" in found else None
    return draw_instances(
        image,
        None if boxes is None else boxes.numpy(),
        found.labels.numpy(),
        found.scores.numpy(),
        found.masks.numpy().astype(bool) if "masks" in found else None,
        classes,
        palette,
    )


def draw_semantic(
    image: np.ndarray, labels: np.ndarray, palette: Sequence | None = None, opacity: float = 0.5
) -> np.ndarray:
    """The picture with each class's colour laid over it.

    Args:
        image: (H, W, 3) uint8, BGR.
        labels: (H, W) integers; what is outside the palette (255: ignored) is left as it is.
        palette: RGB of each class.
        opacity: Of the colours, 0 to 1.
    """
    if palette is None:
        known = labels[labels < 255]
        palette = spread_colors(int(known.max()) + 1 if known.size else 1)
    colors = np.asarray(palette, np.uint8)[:, ::-1]
    known = (labels >= 0) & (labels < len(colors))
    field = colors[np.where(known, labels, 0)]
    mixed = cv2.addWeighted(image, 1 - opacity, field, opacity, 0)
    return np.where(known[..., None], mixed, image)


def draw_instances(
    image: np.ndarray,
    boxes: np.ndarray | None,
    labels: np.ndarray,
    scores: np.ndarray,
    masks: np.ndarray | None = None,
    classes: Sequence[str] = (),
    palette: Sequence | None = None,
) -> np.ndarray:
    """Boxes with class and score, and masks.

    Args:
        image: (H, W, 3) uint8, BGR.
        boxes: (K, 4) x1, y1, x2, y2 in pixels of `image`, or None.
        labels: (K,) integers.
        scores: (K,) 0 to 1.
        masks: (K, H, W) bool, or None.
        classes: Names of the classes.
        palette: RGB of each class.
    """
    drawn = image.copy()
    if palette is None or (len(labels) and len(palette) <= labels.max()):
        palette = spread_colors(int(labels.max()) + 1 if len(labels) else 1)
    order = np.argsort(scores)
    for index in order if masks is not None else ():
        color = _bgr(palette[labels[index]])
        mask = masks[index]
        drawn[mask] = (drawn[mask] * 0.5 + np.array(color) * 0.5).astype(np.uint8)
    thick = max(1, round(min(image.shape[:2]) / 300))
    for index in order if boxes is not None else ():
        x1, y1, x2, y2 = (round(float(v)) for v in boxes[index])
        color = _bgr(palette[labels[index]])
        cv2.rectangle(drawn, (x1, y1), (x2, y2), color, thick, cv2.LINE_AA)
        label = int(labels[index])
        name = classes[label] if label < len(classes) else str(label)
        drawn = add_label(drawn, f"{name} {scores[index]:.2f}", (x1, y1), color)
    return drawn


def spread_colors(count: int) -> list[tuple[int, int, int]]:
    """RGB colours that neighbours in the list can be told apart by."""
    golden = 0.61803398875
    return [
        tuple(round(255 * v) for v in colorsys.hsv_to_rgb((k * golden) % 1, 0.75, 1.0))
        for k in range(count)
    ]


def _bgr(rgb: Sequence[int]) -> tuple[int, int, int]:
    return tuple(int(v) for v in rgb[::-1])
