"""Draws what a network said: boxes and masks onto cells, and task outputs as maps for a policy."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .observation import TaskOutput

TASK_CHANNELS = 3
_MOST_OBJECTS = 100  # objects drawn by task_map, the best by score


def spans(low: Tensor, high: Tensor, length: float, cells: int) -> Tensor:
    """Which of ``cells`` equal parts of [0, length) each interval [low, high) overlaps.

    An empty interval (or a NaN) overlaps nothing. ``low``, ``high``: (K,). Returns (K, cells) bool.
    """
    edges = torch.arange(cells + 1, device=low.device, dtype=torch.float32) * (length / cells)
    low, high = low.float()[:, None], high.float()[:, None]
    return (low < edges[1:]) & (high > edges[:-1]) & (high > low)


def paint_boxes(
    boxes: Tensor, values: Tensor, size: tuple[int, int], grid: tuple[int, int]
) -> Tensor:
    """The highest value among the boxes that overlap each cell; 0 where there is none.

    Args:
        boxes: (K, 4) xyxy in pixels of an image of ``size`` (H, W).
        values: (K,) >= 0.
        grid: (GH, GW) cells over that image.

    Returns:
        (GH, GW) float32.
    """
    if not len(boxes):
        return torch.zeros(grid, device=boxes.device)
    rows = spans(boxes[:, 1], boxes[:, 3], size[0], grid[0])
    columns = spans(boxes[:, 0], boxes[:, 2], size[1], grid[1])
    covered = rows[:, :, None] & columns[:, None, :]
    return torch.where(covered, values.float()[:, None, None], 0.0).amax(0)


def paint_masks(masks: Tensor, values: Tensor, grid: tuple[int, int]) -> Tensor:
    """The highest value among the masks with a pixel in each cell; 0 where there is none.

    ``masks``: (K, h, w) bool. ``values``: (K,) >= 0. Returns (GH, GW) float32.
    """
    if not len(masks):
        return torch.zeros(grid, device=masks.device)
    covered = F.adaptive_max_pool2d(masks.float()[:, None], grid)[:, 0].bool()
    return torch.where(covered, values.float()[:, None, None], 0.0).amax(0)


def object_scores(task: TaskOutput) -> Tensor:
    """The scores (K,) in float32, 1 where the task gave none."""
    if task.scores is None:
        return torch.ones(len(task.boxes), device=task.boxes.device)
    return task.scores.float()


def sample_logits(logits: Tensor, image_size: tuple[int, int], pixels: int) -> Tensor:
    """Reads logits (C, h, w) at about every ``pixels``-th image pixel, or all that there are.

    Returns float32 logits with two channels at least: a single channel becomes (0, logit), whose
    softmax is its sigmoid.
    """
    step = max(1, pixels * logits.shape[-1] // image_size[1])
    logits = logits[:, step // 2 :: step, step // 2 :: step].float()
    if logits.shape[0] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits])
    return logits


def class_distribution(
    task: TaskOutput, pixels: int, size: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor]:
    """Logarithms of the class probabilities at about every ``pixels``-th pixel, and themselves.

    Both (C, h, w) float32, enlarged or reduced to `size` if one is given; those of the ``pixels``
    alone are computed once.
    """
    known = task.distributions.get(pixels)
    if known is not None and size in (None, tuple(known[0].shape[1:])):
        return known
    logits = sample_logits(task.logits, task.image_size, pixels)
    resized = size is not None and tuple(logits.shape[1:]) != tuple(size)
    if resized:
        logits = F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
    # The clamp keeps a class masked out with -inf logits from giving 0 * inf.
    log_p = logits.log_softmax(0).clamp_(min=-50.0)
    found = log_p, log_p.exp()
    if not resized:
        task.distributions[pixels] = found
    return found


def task_map(
    task: TaskOutput | None,
    size: tuple[int, int],
    channels: int = TASK_CHANNELS,
    device: torch.device | None = None,
) -> Tensor:
    """A task output as a picture of a few channels, the same for any task and number of classes.

    The channels are confidence, doubt and boundary, each 0 to 1.
    semseg: the highest class probability, the entropy over log C, the borders of the arg max.
    detection, instance: the highest score there (of the 100 best objects), 4 * that * (1 - that),
    and the highest score of an outline. Nothing detected, or no task: zeros.

    Args:
        task: One image's output, or None.
        size: (h, w) of the map; it covers the padded network input.
        channels: How many of the three channels, 1 to 3.
        device: Where the map of a None task goes.

    Returns:
        (channels, h, w) float32.
    """
    if not 1 <= channels <= TASK_CHANNELS:
        raise ValueError(f"channels must be 1 to {TASK_CHANNELS}, got {channels}.")
    if task is None:
        return torch.zeros(channels, *size, device=device)
    if task.kind == "semseg":
        return _segmentation_map(task, size)[:channels]
    return _object_map(task, size)[:channels]


def _segmentation_map(task: TaskOutput, size: tuple[int, int]) -> Tensor:
    log_p, p = class_distribution(task, max(1, task.image_size[1] // size[1]), size)
    top, label = p.max(0)
    entropy = -(p * log_p).sum(0) / math.log(len(p))
    border = torch.zeros_like(top)
    down = (label[1:] != label[:-1]).float()
    right = (label[:, 1:] != label[:, :-1]).float()
    border[1:] = down
    border[:-1] = torch.maximum(border[:-1], down)
    border[:, 1:] = torch.maximum(border[:, 1:], right)
    border[:, :-1] = torch.maximum(border[:, :-1], right)
    return torch.stack([top, entropy, border])


def _object_map(task: TaskOutput, size: tuple[int, int]) -> Tensor:
    scores = object_scores(task)
    best = scores.argsort(descending=True, stable=True)[:_MOST_OBJECTS]
    if not len(best):
        return torch.zeros(TASK_CHANNELS, *size, device=scores.device)
    scores = scores[best].nan_to_num(0.0).clamp(0.0, 1.0)
    draw = _boxes_drawn if task.masks is None else _masks_drawn
    inside, core = draw(task, best, scores, size)
    score, outline = inside.amax(0), (inside - core).amax(0)
    return torch.stack([score, 4.0 * score * (1.0 - score), outline])


def _boxes_drawn(
    task: TaskOutput, best: Tensor, scores: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Each box's score where it is, and where it is but for its outline: (K, h, w) both."""
    boxes = task.boxes[best]
    rows = spans(boxes[:, 1], boxes[:, 3], task.image_size[0], size[0])
    columns = spans(boxes[:, 0], boxes[:, 2], task.image_size[1], size[1])
    inside = (rows * scores[:, None])[:, :, None] * columns[:, None, :]
    rows, columns = _eroded(rows, 1), _eroded(columns, 1)
    return inside, (rows * scores[:, None])[:, :, None] * columns[:, None, :]


def _masks_drawn(
    task: TaskOutput, best: Tensor, scores: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Like ``_boxes_drawn``, by the masks; reads them at the centres of the samples only."""
    device = task.masks.device
    h, w = task.masks.shape[1:]
    rows = ((torch.arange(size[0], device=device) + 0.5) * (h / size[0])).long()
    columns = ((torch.arange(size[1], device=device) + 0.5) * (w / size[1])).long()
    inside = task.masks[best[:, None, None], rows[:, None], columns].bool()
    core = _eroded(_eroded(inside, 1), 2)
    return inside * scores[:, None, None], core * scores[:, None, None]


def _eroded(inside: Tensor, dim: int) -> Tensor:
    """Without the first and the last sample of every run along ``dim``."""
    nothing = torch.zeros_like(inside.narrow(dim, 0, 1))
    length = inside.shape[dim]
    before = torch.cat([nothing, inside.narrow(dim, 0, length - 1)], dim)
    after = torch.cat([inside.narrow(dim, 1, length - 1), nothing], dim)
    return inside & before & after
