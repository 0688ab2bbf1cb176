"""Context of the whole picture, at three coarse grids."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdyn.models.swiftnet.layers import norm_relu_conv


class SpatialPyramidPooling(BaseModule):
    """Pools a map to a few grids of its own aspect ratio and blends them back in.

    Args:
        in_channels: Of the map, the encoder's coarsest.
        channels: Of the map after the first 1x1 convolution.
        level_channels: Of each pooled grid.
        out_channels: Of the result.
        grids: Rows of each grid; its columns follow the map's aspect ratio.
        norm_cfg: Of the norms before each convolution.
        conv_cfg: Of the convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        level_channels: int,
        out_channels: int,
        grids: tuple[int, ...],
        norm_cfg: dict,
        conv_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.grids = tuple(grids)
        self.reduce = norm_relu_conv(in_channels, channels, 1, norm_cfg, conv_cfg)
        self.levels = nn.ModuleList(
            norm_relu_conv(channels, level_channels, 1, norm_cfg, conv_cfg) for _ in self.grids
        )
        gathered = channels + level_channels * len(self.grids)
        self.blend = norm_relu_conv(gathered, out_channels, 1, norm_cfg, conv_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H, W)."""
        x = self.reduce(x)
        height, width = x.shape[2:]
        maps = [x]
        for rows, level in zip(self.grids, self.levels):
            columns = max(1, round(width / height * rows))
            pooled = level(F.adaptive_avg_pool2d(x, (rows, columns)))
            maps.append(F.interpolate(pooled, (height, width), mode="bilinear"))
        return self.blend(torch.cat(maps, 1))
