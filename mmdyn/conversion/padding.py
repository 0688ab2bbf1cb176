"""Images made to fit the grid."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pad_to_blocks(image: Tensor, config) -> tuple[Tensor, tuple[int, int]]:
    """The image with zeros below and to the right, up to whole blocks, and the block's size.

    Raises:
        ValueError: For what is no image batch.
    """
    if image.dim() != 4 or 0 in image.shape or not image.is_floating_point():
        raise ValueError(
            f"expected a floating-point image batch (N, C, H, W) that is not empty, got "
            f"{image.dtype} {tuple(image.shape)}"
        )
    height, width = image.shape[2:]
    block = config.blocks_for(height, width)
    pads = (-height % block[0], -width % block[1])
    return (F.pad(image, (0, pads[1], 0, pads[0])) if any(pads) else image), block
