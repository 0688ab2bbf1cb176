"""Images made to fit the grid."""

from __future__ import annotations

import logging

import torch.nn.functional as F
from torch import Tensor

logger = logging.getLogger(__name__)

_MUCH = 0.1  # of the image, that is worth a warning


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


def warn_of_much_padding(given: Tensor, padded: Tensor) -> bool:
    """Says how much more there is to compute, if it is much; whether it is."""
    more = padded.shape[2] * padded.shape[3] / (given.shape[2] * given.shape[3]) - 1.0
    if more <= _MUCH:
        return False
    logger.warning(
        "images of %dx%d are padded to %dx%d so that blocks divide them, %.0f%% more to compute; "
        "choose another block_size, or block_size='auto'", *given.shape[2:], *padded.shape[2:],
        100 * more,
    )  # fmt: skip
    return True
