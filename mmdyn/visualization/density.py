"""Where a gated network computes: for each pixel, in how many of its blocks."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def density_map(masks: Iterable[Tensor], size: tuple[int, int]) -> Tensor:
    """The share of the blocks that compute each pixel.

    Args:
        masks: One a block, (N, 1, h, w), 0 or 1, of any sizes.
        size: Height and width of the image.

    Returns:
        (N, *size), 0 to 1.
    """
    large = [F.interpolate(mask.float(), size, mode="nearest") for mask in masks]
    if not large:
        raise ValueError("expected the mask of at least one block, got none")
    return torch.stack(large).mean(0)[:, 0]


def draw_density(image: np.ndarray, density: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """An image with a density over it, blue where little is computed and red where all is.

    Args:
        image: (H, W, 3) uint8, BGR.
        density: (H, W), 0 to 1.
        strength: Of the colours over the image, 0 to 1.
    """
    values = (np.clip(density, 0, 1) * 255).round().astype(np.uint8)
    colours = cv2.applyColorMap(values, cv2.COLORMAP_TURBO)
    return cv2.addWeighted(colours, strength, image, 1 - strength, 0)
