"""A pedestrian's box as a cell, an offset from its middle and the logarithm of its size."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 1.0  # px: no box is taken to be smaller, so that its logarithm stays finite
LARGEST_SCALE = 8.0  # of a prediction: exp(8) strides, more than any picture has


def encode_boxes(
    boxes: Tensor, size: tuple[int, int], stride: int, width: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """What the maps hold about each box.

    Args:
        boxes: (K, 4) xyxy in pixels.
        size: Height and width of the maps; a centre outside is moved to the nearest cell.
        stride: Pixels a cell.
        width: Whether widths are coded beside heights.

    Returns:
        Cells (K, 2) int64 (row, column), offsets (K, 2) of the centre from the cell's middle
        (down, right; in cells), scales (K, 1 or 2): the logarithms of height (and width) in cells.
    """
    centers = torch.stack([boxes[:, 1] + boxes[:, 3], boxes[:, 0] + boxes[:, 2]], 1) / 2 / stride
    last = centers.new_tensor([size[0] - 1, size[1] - 1])
    cells = torch.minimum(centers.floor().clamp(min=0), last)
    sides = torch.stack([boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], 1)
    scales = (sides.clamp(min=SMALLEST) / stride).log()
    return cells.long(), centers - cells - 0.5, scales if width else scales[:, :1]


def decode_boxes(
    cells: Tensor, offsets: Tensor, scales: Tensor, stride: int, aspect: float
) -> Tensor:
    """Undoes `encode_boxes`.

    Args:
        cells, offsets, scales: See `encode_boxes`.
        stride: Pixels a cell.
        aspect: Width over height where only heights are coded.

    Returns:
        (K, 4) xyxy in pixels.
    """
    middle = (cells + 0.5 + offsets) * stride
    sides = scales.clamp(max=LARGEST_SCALE).exp() * stride
    height = sides[:, 0]
    width = sides[:, 1] if sides.shape[1] > 1 else height * aspect
    half = torch.stack([height, width], 1) / 2
    low, high = (middle - half).flip(1), (middle + half).flip(1)
    return torch.cat([low, high], 1)
