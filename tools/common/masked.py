"""mmcv's MaskedConv2d as a peer of blocks: what OpenMMLab itself has for sparse pixels, on CUDA."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from mmcv.cnn import fuse_conv_bn
from torch import Tensor, nn


def can_mask(conv: nn.Module) -> bool:
    """Whether mmcv's operator computes such a convolution: it knows stride 1 and little else."""
    return (
        type(conv) is nn.Conv2d
        and conv.stride == (1, 1)
        and conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and tuple(2 * p + 1 for p in conv.padding) == conv.kernel_size
    )


class MaskedCore(nn.Module):
    """A network whose convolutions, where mmcv's operator can, run at the pixels of a mask alone.

    The other pixels are zeros: nothing is copied from the frame before, so that only its time means
    something. Batch norm is folded. One image a batch, as the operator demands.

    Args:
        core: The network; a copy is changed.
        active: Share of the blocks that run.
        block: Sides in pixels of the blocks.
    """

    def __init__(self, core: nn.Module, active: float, block: tuple[int, int]) -> None:
        super().__init__()
        self.core = fuse_conv_bn(copy.deepcopy(core))
        self.active, self.block = active, block
        self.cells = torch.ones(1, 1, 1, 1)  # of the frame, and what they are on its maps
        self.masks: dict[tuple[int, int], Tensor] = {}
        found = [conv for conv in self.core.modules() if can_mask(conv)]
        for conv in found:
            conv.forward = _Masked(conv, self)  # an attribute: no parameter is registered twice
        self.converted = len(found)

    def forward(self, image: Tensor):
        grid = [side // block for side, block in zip(image.shape[2:], self.block)]
        count = max(round(self.active * grid[0] * grid[1]), 1)
        cells = torch.zeros(grid[0] * grid[1], device=image.device)
        cells[torch.randperm(len(cells), device=image.device)[:count]] = 1.0
        self.cells, self.masks = cells.view(1, 1, *grid), {}
        return self.core(image)

    def mask(self, size: tuple[int, int]) -> Tensor:
        """(1, h, w), ones in the blocks that run; one for each size of map and frame."""
        if size not in self.masks:
            self.masks[size] = F.interpolate(self.cells, size, mode="nearest")[0]
        return self.masks[size]


class _Masked:
    """Stands in for a convolution's forward."""

    def __init__(self, conv: nn.Conv2d, core: MaskedCore) -> None:
        self.conv, self.core = conv, core

    def __call__(self, x: Tensor) -> Tensor:
        from mmcv.ops import masked_conv2d

        conv = self.conv
        bias = conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias
        mask = self.core.mask(tuple(x.shape[2:])).to(x.dtype)
        return masked_conv2d(x.contiguous(), mask, conv.weight.contiguous(), bias, conv.padding)
