"""SwiftNet's decoder as a mmseg decode head."""

from __future__ import annotations

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from mmdyn.models.swiftnet.layers import norm_relu_conv
from mmdyn.models.swiftnet.spatial_pyramid import SpatialPyramidPooling
from mmdyn.registry import MODELS


class Upsample(BaseModule):
    """Doubles a coarse map, adds the encoder's finer one, and smooths the sum."""

    def __init__(
        self, skip_channels: int, channels: int, norm_cfg: dict, conv_cfg: dict | None
    ) -> None:
        super().__init__()
        self.skip = norm_relu_conv(skip_channels, channels, 1, norm_cfg, conv_cfg)
        self.blend = norm_relu_conv(channels, channels, 3, norm_cfg, conv_cfg)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(N, channels, h, w) and (N, skip_channels, H, W) to (N, channels, H, W)."""
        skip = self.skip(skip)
        return self.blend(F.interpolate(x, skip.shape[2:], mode="bilinear") + skip)


@MODELS.register_module()
class SwiftNetHead(BaseDecodeHead):
    """Spatial pyramid pooling, then a ladder of upsamplings with skips, as in SwiftNet.

    Every convolution follows its norm and ReLU, the classifier too. The result has the finest
    input's size, a quarter of the image for a ResNet.

    Args:
        in_channels (Sequence[int]): Of the encoder's maps, finest first.
        in_index (Sequence[int]): Which maps these are. Default: all of `in_channels`.
        channels (int): Of the decoder. Default 128.
        level_channels (int, optional): Of each pooled grid; a third of `channels` by default.
        grids (Sequence[int]): Rows of the pooled grids. Default (8, 4, 2).
        norm_cfg (dict): Of the decoder's norms. Default BN with momentum 0.05.
        pyramid_norm_cfg (dict): Of the pyramid's norms. Default BN with momentum 0.005, for its
            coarsest grid has few pixels to count.
        dropout_ratio (float): Before the classifier. Default 0.
        **kwargs: See ``mmseg.models.BaseDecodeHead``: num_classes, loss_decode, sampler and so on.
    """

    def __init__(
        self,
        in_channels,
        in_index=None,
        channels: int = 128,
        level_channels: int | None = None,
        grids=(8, 4, 2),
        norm_cfg: dict = dict(type="BN", momentum=0.05),  # noqa: B006
        pyramid_norm_cfg: dict = dict(type="BN", momentum=0.005),  # noqa: B006
        dropout_ratio: float = 0.0,
        **kwargs,
    ) -> None:
        if len(in_channels) < 2:
            raise ValueError(
                f"SwiftNetHead needs at least two maps of the encoder, finest first; in_channels "
                f"is {in_channels}"
            )
        super().__init__(
            in_channels=list(in_channels),
            in_index=list(range(len(in_channels)) if in_index is None else in_index),
            channels=channels,
            input_transform="multiple_select",
            norm_cfg=norm_cfg,
            dropout_ratio=dropout_ratio,
            **kwargs,
        )
        level_channels = channels // 3 if level_channels is None else level_channels
        self.pyramid = SpatialPyramidPooling(
            in_channels[-1], channels, level_channels, channels, grids, pyramid_norm_cfg,
            self.conv_cfg,
        )  # fmt: skip
        self.upsamples = nn.ModuleList(
            Upsample(skip, channels, self.norm_cfg, self.conv_cfg)
            for skip in reversed(in_channels[:-1])
        )
        self.norm = build_norm_layer(self.norm_cfg, channels)[1]
        self.activate = nn.ReLU()

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """The encoder's maps to class scores (N, classes, H, W), H and W those of the finest."""
        *skips, x = self._transform_inputs(inputs)
        x = self.pyramid(x)
        for upsample, skip in zip(self.upsamples, reversed(skips)):
            x = upsample(x, skip)
        return self.cls_seg(self.activate(self.norm(x)))
