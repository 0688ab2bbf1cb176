"""EfficientNet-Lite: inverted residuals with ReLU6 and no squeeze-and-excitation."""

from __future__ import annotations

import math
from collections import OrderedDict

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdyn.registry import MODELS

# Of each stage at multipliers of 1: blocks, kernel size, stride, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
)  # fmt: skip
# Multipliers of width and depth.
VARIANTS = {
    "lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2), "lite3": (1.2, 1.4),
    "lite4": (1.4, 1.8),
}  # fmt: skip
STEM_CHANNELS = 32


def _width(channels: int, multiplier: float) -> int:
    """Channels times the multiplier, to the nearest 8, losing at most a tenth."""
    scaled = channels * multiplier
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class InvertedResidual(BaseModule):
    """1x1 expansion, depthwise convolution, 1x1 projection; the input is added where it fits."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expansion: int,
        norm_cfg: dict,
    ) -> None:  # fmt: skip
        super().__init__()
        hidden = in_channels * expansion
        act_cfg = dict(type="ReLU6")
        layers = OrderedDict()
        if expansion != 1:
            layers["expand"] = ConvModule(
                in_channels, hidden, 1, norm_cfg=norm_cfg, act_cfg=act_cfg
            )
        layers["depthwise"] = ConvModule(
            hidden, hidden, kernel_size, stride, kernel_size // 2, groups=hidden,
            norm_cfg=norm_cfg, act_cfg=act_cfg,
        )  # fmt: skip
        layers["project"] = ConvModule(hidden, out_channels, 1, norm_cfg=norm_cfg, act_cfg=None)
        self.layers = nn.Sequential(layers)
        self.has_identity = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out = self.layers(x)
        return x + out if self.has_identity else out


@MODELS.register_module()
class EfficientNetLite(BaseModule):
    """EfficientNet-Lite without its classifier.

    Args:
        variant (str): 'lite0' to 'lite4'. Default 'lite1'.
        out_indices (Sequence[int]): Stages whose maps are returned, 0 to 6. Default (1, 2, 4, 6),
            the last of each size from a quarter to a 32nd of the image.
        norm_cfg (dict): Default BN with momentum 0.01 and eps 1e-3.
        init_cfg (dict, optional): He fan-out by default.
    """

    def __init__(
        self,
        variant: str = "lite1",
        out_indices=(1, 2, 4, 6),
        norm_cfg: dict = dict(type="BN", momentum=0.01, eps=1e-3),  # noqa: B006
        init_cfg: dict | list | None = None,
    ) -> None:
        if variant not in VARIANTS:
            raise ValueError(f"unknown variant {variant!r}; choose one of {', '.join(VARIANTS)}")
        if not set(out_indices) <= set(range(len(STAGES))):
            raise ValueError(f"out_indices is {out_indices}; the stages are 0 to {len(STAGES) - 1}")
        if init_cfg is None:
            init_cfg = [
                dict(type="Kaiming", layer="Conv2d", mode="fan_out"),
                dict(type="Constant", layer=["_BatchNorm", "GroupNorm"], val=1),
            ]
        super().__init__(init_cfg)
        width, depth = VARIANTS[variant]
        self.out_indices = tuple(out_indices)
        self.stem = ConvModule(
            3, STEM_CHANNELS, 3, 2, 1, norm_cfg=norm_cfg, act_cfg=dict(type="ReLU6")
        )
        self.stages = nn.ModuleList()
        channels = STEM_CHANNELS
        for i, (blocks, kernel_size, stride, expansion, out) in enumerate(STAGES):
            # The first and the last stage are not deepened.
            fixed = i in (0, len(STAGES) - 1)
            out = _width(out, width)
            stage = []
            for j in range(blocks if fixed else math.ceil(blocks * depth)):
                stage.append(
                    InvertedResidual(
                        channels, out, kernel_size, stride if j == 0 else 1, expansion, norm_cfg
                    )
                )
                channels = out
            self.stages.append(nn.Sequential(*stage))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) to the maps of `out_indices`, finest first."""
        x = self.stem(x)
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)
