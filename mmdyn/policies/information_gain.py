"""Information gain: what executing told us, per cell, that the copied output did not.

One function per kind of task in the registry ``INFORMATION_GAINS``. Each compares two outputs of
one image, before and now, and returns (GH, GW) float32 >= 0. Without an output before (a first
frame) nothing can be compared and the gain is 0. Non-finite logits or scores give non-finite
gains: whoever learns from them must look.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.registry import INFORMATION_GAINS

from .observation import TaskOutput
from .painting import class_distribution, object_scores, paint_boxes, paint_masks

MEAN_GAIN = {"semseg": {"pooling": "mean"}}
_POOLS = {"max": F.adaptive_max_pool2d, "mean": F.adaptive_avg_pool2d}


def information_gain(
    previous: TaskOutput | None,
    current: TaskOutput,
    grid_size: tuple[int, int],
    options: dict[str, dict] | None = None,
) -> Tensor:
    """The gain for whatever kind of task ``current`` is.

    ``options`` holds keyword arguments by kind: ``{'semseg': {'pooling': 'mean'}}``.
    """
    gain = INFORMATION_GAINS.get(current.kind)
    if gain is None:
        raise KeyError(
            f"no information gain for task kind {current.kind!r}; known: "
            f"{sorted(INFORMATION_GAINS.module_dict)}. Register one in INFORMATION_GAINS."
        )
    return gain(previous, current, grid_size, **(options or {}).get(current.kind, {}))


@INFORMATION_GAINS.register_module(name="semseg")
def semseg_gain(
    previous: TaskOutput | None,
    current: TaskOutput,
    grid_size: tuple[int, int],
    sample: int | None = None,
    pooling: str = "max",
) -> Tensor:
    """KL(previous || current) of the class distributions, in nats.

    Args:
        previous: The output before, or None.
        current: The output now.
        grid_size: (GH, GW).
        sample: Finer logits are read at every ``sample``-th image pixel only, which bounds the
            cost; 1 reads them all. Default: 8 samples a side of a cell, but at least 4 pixels.
        pooling: 'max': the highest KL in the cell, as published for BlockCopy; 'mean': the
            average, which tells cells with one changed pixel from cells with many.
    """
    if pooling not in _POOLS:
        raise ValueError(f"pooling must be one of {sorted(_POOLS)}, got {pooling!r}.")
    if previous is None:
        return torch.zeros(grid_size, device=current.logits.device)
    sample = sample or max(4, current.image_size[1] // grid_size[1] // 8)
    now, _ = class_distribution(current, sample)
    before, p = class_distribution(previous, sample, tuple(now.shape[1:]))
    if before.shape[0] != now.shape[0]:
        raise ValueError(
            f"both outputs must have the same classes, got {before.shape[0]} and {now.shape[0]}; "
            "reset the stream when the network changes."
        )
    divergence = (p * (before - now)).sum(0).clamp_(min=0.0)
    return _POOLS[pooling](divergence[None], grid_size)[0]


@INFORMATION_GAINS.register_module(name="detection")
def detection_gain(
    previous: TaskOutput | None, current: TaskOutput, grid_size: tuple[int, int]
) -> Tensor:
    """How far each box moved or changed its score, painted on the cells that the box overlaps.

    A box's gain is score - max over the other frame's boxes of its class of
    IoU * min(score, other score): 0 for a box found again unchanged, score * (1 - IoU) for one
    that moved, the score itself for one that appeared or vanished. Boxes of both frames are
    painted; a cell takes the highest. Boxes without area count for nothing.
    """
    if previous is None:
        return torch.zeros(grid_size, device=current.boxes.device)
    overlap = _box_overlap(previous.boxes.float(), current.boxes.float())
    gains = _matched_gains(previous, current, overlap)
    painted = [
        paint_boxes(task.boxes, gain, task.image_size, grid_size)
        for task, gain in zip((previous, current), gains, strict=True)
    ]
    return torch.maximum(*painted)


@INFORMATION_GAINS.register_module(name="instance")
def instance_gain(
    previous: TaskOutput | None,
    current: TaskOutput,
    grid_size: tuple[int, int],
    sample: int | None = None,
) -> Tensor:
    """Like the gain of a detection, by the IoU of the masks and painted on the masks' cells.

    Args:
        previous: The output before, or None.
        current: The output now.
        grid_size: (GH, GW).
        sample: Finer masks are read at every ``sample``-th image pixel only, which bounds the
            cost; an object whose mask falls between the samples counts by its box. 1 reads them
            all. Default: 16 samples a side of a cell, but at least 4 pixels.
    """
    if previous is None:
        return torch.zeros(grid_size, device=current.boxes.device)
    if previous.masks is None or current.masks is None:
        return detection_gain(previous, current, grid_size)
    sample = sample or max(4, current.image_size[1] // grid_size[1] // 16)
    before, now = (_sampled_masks(task, sample) for task in (previous, current))
    if before.shape[1:] != now.shape[1:]:
        size = now.shape[1:]
        before = F.interpolate(before.float()[None], size=size, mode="nearest")[0].bool()
    lost = [~masks.flatten(1).any(1) for masks in (before, now)]
    by_box = lost[0][:, None] | lost[1][None, :]
    overlap = torch.where(
        by_box,
        _box_overlap(previous.boxes.float(), current.boxes.float()),
        _mask_overlap(before, now),
    )
    gains = _matched_gains(previous, current, overlap)
    painted = [
        torch.maximum(
            paint_masks(masks, gain, grid_size),
            paint_boxes(task.boxes[small], gain[small], task.image_size, grid_size),
        )
        for task, masks, small, gain in zip(
            (previous, current), (before, now), lost, gains, strict=True
        )
    ]
    return torch.maximum(*painted)


def _matched_gains(
    previous: TaskOutput, current: TaskOutput, overlap: Tensor
) -> tuple[Tensor, Tensor]:
    """Gains (P,) and (K,) of two frames' objects from their overlap (P, K)."""
    before, now = object_scores(previous), object_scores(current)
    kept = overlap * torch.minimum(before[:, None], now[None, :])
    if previous.labels is not None and current.labels is not None:
        kept = kept * (previous.labels[:, None] == current.labels[None, :])
    if kept.numel() == 0:
        return before, now
    return (before - kept.amax(1)).clamp(min=0.0), (now - kept.amax(0)).clamp(min=0.0)


def _box_overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU (P, K) of boxes (P, 4) and (K, 4); 0 for boxes without area."""
    size_a, size_b = ((x[:, 2:] - x[:, :2]).clamp(min=0.0) for x in (a, b))
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    common = (high - low).clamp_(min=0.0).prod(-1)
    union = size_a.prod(-1)[:, None] + size_b.prod(-1)[None, :] - common
    return torch.where(union > 0.0, common / union.clamp(min=1e-12), 0.0)


def _mask_overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU (P, K) of masks (P, h, w) and (K, h, w); 0 for empty masks."""
    a, b = a.flatten(1).float(), b.flatten(1).float()
    common = a @ b.T
    union = a.sum(1)[:, None] + b.sum(1)[None, :] - common
    return torch.where(union > 0.0, common / union.clamp(min=1.0), 0.0)


def _sampled_masks(task: TaskOutput, sample: int) -> Tensor:
    step = max(1, sample * task.masks.shape[-1] // task.image_size[1])
    return task.masks[:, step // 2 :: step, step // 2 :: step].bool()
