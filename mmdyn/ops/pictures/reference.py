"""Whole pictures smaller, and windows of maps larger, in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def shrink(image: Tensor, factor: int) -> Tensor:
    """The means of `factor` x `factor` pixels.

    Args:
        image: (N, C, H, W), of any floating type.
        factor: Pixels a side; what is left over at the right and the bottom is not read.

    Returns:
        (N, C, H // factor, W // factor) float32.
    """
    return F.avg_pool2d(image.float(), factor)


def patch_statistics(image: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """What an image holds, patch by patch, and what halving its sides would lose of it.

    Args:
        image: (N, C, H, W), of any floating type.
        step: Pixels a side of a patch; even, divides H and W.

    Returns:
        The means of the patches (N, C, H / step, W / step); their detail
        (N, 1, H / step, W / step), the mean distance of pixels from the mean of their 2x2 pixels;
        mean and standard deviation (N, 2) of every second pixel of every second row. All float32.
    """
    image = image.float()
    flat = image[:, :, ::2, ::2].flatten(1)
    detail = F.avg_pool2d(_lost_detail(image), step // 2)
    return shrink(image, step), detail, torch.stack([flat.mean(1), flat.std(1)], 1)


def _lost_detail(image: Tensor) -> Tensor:
    """(N, 1, H / 2, W / 2) mean distance of 2x2 pixels from their mean, over channels."""
    n, c, h, w = image.shape
    upper, lower = image.reshape(n, c, h // 2, 2, w).unbind(3)
    pairs = (upper + lower).view(n, c, h // 2, w // 2, 2)
    mean = ((pairs[..., 0] + pairs[..., 1]) * 0.25).repeat_interleave(2, -1)
    away = (upper - mean).abs_().add_((lower - mean).abs_()).view(pairs.shape)
    return (away[..., 0] + away[..., 1]).mean(1, keepdim=True).mul_(0.25)


def enlarge(windows: Tensor, rows: int, columns: int) -> Tensor:
    """Blocks enlarged bilinearly by whole factors, from their windows with one pixel more.

    Args:
        windows: (n, C, h + 2, w + 2).
        rows: Factor of the height.
        columns: Factor of the width.

    Returns:
        (n, C, h * rows, w * columns), channels-last.
    """
    n, c, height, width = windows.shape[0], windows.shape[1], *(v - 2 for v in windows.shape[2:])
    if n == 0:
        return windows.new_empty((0, c, height * rows, width * columns))
    size = (windows.shape[2] * rows, windows.shape[3] * columns)
    up = F.interpolate(windows, size, mode="bilinear", align_corners=False)
    up = up[:, :, rows:-rows, columns:-columns]
    return up.contiguous(memory_format=torch.channels_last)
