"""The maps that CSP's head learns: where centres are, how large people are, where exactly."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmdyn.models.csp.coding import encode_boxes


class CSPTargets(NamedTuple):
    """Maps of one image, or of a batch with N before each shape.

    Attributes:
        center: (C, H, W): 1 at centres of the class, below 1 around them, 0 elsewhere.
        center_weight: (1, H, W): 0 in ignored regions, 1 elsewhere, in boxes and at their centres.
        scale: (1 or 2, H, W): logarithm of height (and width) in cells, around centres.
        scale_weight: (1, H, W): 1 where `scale` is said.
        offset: (2, H, W): centre from the cell's middle, down and right, in cells.
        offset_weight: (1, H, W): 1 at centres.
    """

    center: Tensor
    center_weight: Tensor
    scale: Tensor
    scale_weight: Tensor
    offset: Tensor
    offset_weight: Tensor


def csp_targets(
    boxes: Tensor,
    labels: Tensor,
    ignored: Tensor | None,
    size: tuple[int, int],
    stride: int = 4,
    num_classes: int = 1,
    width: bool = False,
    radius: int = 2,
) -> CSPTargets:
    """The maps of one image.

    Boxes without height or width or with their centre outside the maps are left out; of several
    with their centre in one cell the tallest is taken, whatever their classes; where the patches of
    two boxes meet, the nearer centre's scale is taken.

    Args:
        boxes: (K, 4) xyxy in pixels.
        labels: (K,) int64.
        ignored: (M, 4) xyxy regions that are neither people nor background, or None.
        size: H and W of the maps.
        stride: Pixels a cell.
        num_classes: C.
        width: Whether widths are learnt beside heights.
        radius: Cells around a centre, to each side, that learn the scale.
    """
    boxes, labels = _kept(boxes.float(), labels, size, stride)
    cells, offsets, scales = encode_boxes(boxes, size, stride, width)
    height, breadth = size
    maps = CSPTargets(
        _heat(boxes, labels, cells, size, stride, num_classes),
        _weight(boxes, ignored, size, stride),
        boxes.new_zeros((scales.shape[1], height, breadth)),
        boxes.new_zeros((1, height, breadth)),
        boxes.new_zeros((2, height, breadth)),
        boxes.new_zeros((1, height, breadth)),
    )
    rows, columns = cells.unbind(1)
    maps.offset[:, rows, columns] = offsets.T
    maps.offset_weight[:, rows, columns] = 1.0
    maps.center_weight[:, rows, columns] = 1.0  # people smaller than a cell cover none
    for down, right in _patch(radius):
        y, x = rows + down, columns + right
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < breadth)
        maps.scale[:, y[inside], x[inside]] = scales[inside].T
        maps.scale_weight[:, y[inside], x[inside]] = 1.0
    return maps


def stack_targets(targets: list[CSPTargets]) -> CSPTargets:
    """The maps of a batch."""
    return CSPTargets(*(torch.stack(maps) for maps in zip(*targets)))


def _kept(
    boxes: Tensor, labels: Tensor, size: tuple[int, int], stride: int
) -> tuple[Tensor, Tensor]:
    """Boxes with an area and their centre in the maps, the tallest of each cell."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (centers >= 0) & (centers < centers.new_tensor(size[::-1]) * stride)
    solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & inside.all(1)
    boxes, labels = boxes[solid], labels[solid]
    order = (boxes[:, 3] - boxes[:, 1]).argsort(descending=True, stable=True)
    boxes, labels = boxes[order], labels[order]
    cells = encode_boxes(boxes, size, stride)[0]
    place = cells[:, 0] * size[1] + cells[:, 1]
    taken = (place[:, None] == place[None, :]).tril(-1).any(1)
    return boxes[~taken], labels[~taken]


def _patch(radius: int) -> list[tuple[int, int]]:
    """Steps from a centre to the cells of its patch, the farthest first."""
    span = range(-radius, radius + 1)
    return sorted(((y, x) for y in span for x in span), key=lambda s: -(s[0] ** 2 + s[1] ** 2))


def _heat(boxes, labels, cells, size, stride: int, num_classes: int) -> Tensor:
    """(C, H, W): a Gaussian over each box, 1 at its centre's cell; the highest where they meet."""
    heat = boxes.new_zeros((num_classes, *size))
    bells = []
    for axis, (low, high) in enumerate(((1, 3), (0, 2))):
        length = ((boxes[:, high] - boxes[:, low]) / stride).clamp(min=1.0)[:, None]
        away = torch.arange(size[axis], device=boxes.device)[None] - cells[:, axis, None]
        sigma = ((length - 1) / 2 - 1) * 0.3 + 0.8
        bell = (-away.square() / (2 * sigma.square())).exp()
        bells.append(torch.where(away.abs() < length / 2 + 0.5, bell, 0.0))
    for label, rows, columns in zip(labels.tolist(), *bells):
        torch.maximum(heat[label], rows[:, None] * columns[None, :], out=heat[label])
    return heat


def _weight(boxes: Tensor, ignored: Tensor | None, size: tuple[int, int], stride: int) -> Tensor:
    """(1, H, W): 0 in every cell that an ignored region touches and no box covers."""
    weight = boxes.new_ones((1, *size))
    if ignored is None:
        return weight
    for value, regions, outward in ((0.0, ignored.float(), True), (1.0, boxes, False)):
        low, high = regions[:, :2] / stride, regions[:, 2:] / stride
        low, high = (low.floor(), high.ceil()) if outward else (low.ceil(), high.floor())
        corners = torch.cat([low, high], 1).clamp(min=0).long().tolist()
        for left, top, right, bottom in corners:
            weight[:, top:bottom, left:right] = value
    return weight
