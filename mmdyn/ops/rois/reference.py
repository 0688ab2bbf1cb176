"""Features of regions of interest, in plain PyTorch.

RoIAlign (He et al., Mask R-CNN, ICCV 2017) takes the mean of bilinear samples in each bin. A
sample's weights are a product, one of its row and one of its column, and so is their sum over the
samples of a bin: a bin is what two small matrices make of the map.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def roi_align(
    features: Tensor, rois: Tensor, size: list[int], scale: float, sampling: int, aligned: bool
) -> Tensor:
    """The mean of each bin's samples; a sample more than a pixel outside the map is 0.

    Args:
        features: (N, C, H, W).
        rois: (K, 5), image and x1, y1, x2, y2 in pixels of the image; where one is not finite its
            features are 0.
        size: Bins, (height, width).
        scale: Pixels of the map for one of the image.
        sampling: Samples a side of a bin; 0: as many as it has pixels, rounded up, and none in a
            bin of 2**31, where no pixel counts for anything.
        aligned: Pixels' centres lie at halves; otherwise at whole numbers, and regions have a side
            of one pixel at least, as before Detectron2.

    Returns:
        (K, C, *size), contiguous.
    """
    out = features.new_zeros(rois.shape[0], features.shape[1], *size)
    parts = []
    for roi in rois.cpu():
        image, box = float(roi[0]), roi[1:] * scale - (0.5 if aligned else 0.0)
        if not roi.isfinite().all():
            parts.append(features.new_zeros(features.shape[1], *size))
            continue
        if not 0 <= image < features.shape[0]:
            raise RuntimeError(f"expected RoIs of {features.shape[0]} images, got one of {image:g}")
        sides = box[2:] - box[:2]
        if not aligned:
            sides = sides.clamp(min=1.0)
        map_ = features[int(image)].to(torch.promote_types(features.dtype, torch.float32))
        across, down = (
            _weights(box[i], sides[i], size[1 - i], sampling, map_.shape[2 - i], map_)
            for i in range(2)
        )
        rows, columns = down.any(0), across.any(0)  # NaN elsewhere is none of the region's
        map_ = map_[:, rows][:, :, columns]
        parts.append((down[:, rows] @ map_ @ across[:, columns].t()).to(features.dtype))
    return torch.stack(parts) if parts else out


def _weights(
    start: Tensor, side: Tensor, bins: int, sampling: int, length: int, like: Tensor
) -> Tensor:
    """(bins, length) what each pixel of a side counts in each bin."""
    step = side / bins
    count = sampling if sampling > 0 else math.ceil(step) if 0.0 < step < 2**31 else 0
    places = (torch.arange(count, dtype=start.dtype) + 0.5) * step / max(count, 1)
    at = start + torch.arange(bins, dtype=start.dtype)[:, None] * step + places
    inside = ((at >= -1.0) & (at <= length)).double() / max(count, 1)
    at = at.double().clamp(0.0, length - 1.0)
    low = at.long()
    high = (low + 1).clamp(max=length - 1)
    found = torch.zeros(bins, length, dtype=torch.float64)
    found.scatter_add_(1, low, (1.0 - (at - low)) * inside)
    found.scatter_add_(1, high, (at - low) * inside)
    return found.to(like)
