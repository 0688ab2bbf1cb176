"""The unit that SwiftNet's decoder is made of."""

from __future__ import annotations

from mmcv.cnn import ConvModule


def norm_relu_conv(
    in_channels: int, out_channels: int, kernel_size: int, norm_cfg: dict, conv_cfg: dict | None
) -> ConvModule:
    """Norm, ReLU, then a convolution that keeps the size: nothing is cut off after the last one."""
    return ConvModule(
        in_channels,
        out_channels,
        kernel_size,
        padding=kernel_size // 2,
        bias=False,
        conv_cfg=conv_cfg,
        norm_cfg=norm_cfg,
        order=("norm", "act", "conv"),
    )
