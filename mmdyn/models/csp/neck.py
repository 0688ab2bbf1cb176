"""CSP's neck: three stages brought to one stride, normalised alike and set side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdyn.registry import MODELS


class L2Norm(nn.Module):
    """Scales each pixel's channels to unit length, then each channel by what it learnt.

    Args:
        channels: C.
        gain: What the learnt factors start from.
        eps: Lowest length that is divided by.
    """

    def __init__(self, channels: int, gain: float = 10.0, eps: float = 1e-10) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.full((channels,), float(gain)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same, of the weight's type; squares overflow in half precision, so
        they are taken in float32."""
        x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        scaled = F.normalize(x, dim=1, eps=self.eps) * self.weight.view(1, -1, 1, 1)
        return scaled.to(self.weight.dtype)


@MODELS.register_module()
class CSPNeck(BaseModule):
    """Deconvolves each stage to one stride, normalises it (L2, learnt gains) and concatenates.

    Args:
        in_channels (Sequence[int]): Of the backbone's outputs. Default (512, 1024, 2048).
        strides (Sequence[int]): Their strides; each is 2, 4 or 8 times ``out_stride``.
            Default (8, 16, 16).
        out_channels (int): Of each deconvolution. Default 256.
        out_stride (int): Of the output. Default 4.
        gain (float): What the learnt factors of the normalisation start from. Default 10.
        init_cfg (dict | None): mmengine's; by default Xavier for the deconvolutions.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (512, 1024, 2048),
        strides: Sequence[int] = (8, 16, 16),
        out_channels: int = 256,
        out_stride: int = 4,
        gain: float = 10.0,
        init_cfg: dict | None = None,
    ) -> None:
        xavier = dict(type="Xavier", layer="ConvTranspose2d", distribution="uniform")
        super().__init__(init_cfg or xavier)
        if len(in_channels) != len(strides):
            raise ValueError(
                f"in_channels {tuple(in_channels)} and strides {tuple(strides)} must name the same "
                "outputs of the backbone"
            )
        self.strides = tuple(strides)
        self.deconvs, self.norms = nn.ModuleList(), nn.ModuleList()
        for channels, stride in zip(in_channels, strides):
            factor, rest = divmod(stride, out_stride)
            if rest or factor not in (2, 4, 8):
                raise ValueError(
                    f"stride {stride} must be 2, 4 or 8 times out_stride {out_stride}; choose "
                    "other out_indices or strides of the backbone"
                )
            kernel = max(4, factor)
            padding = (kernel - factor) // 2
            self.deconvs.append(nn.ConvTranspose2d(channels, out_channels, kernel, factor, padding))
            self.norms.append(L2Norm(out_channels, gain))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor]:
        """Features (N, C, H / stride, W / stride) to one map of len(inputs) * out_channels."""
        if len(inputs) != len(self.deconvs):
            raise ValueError(
                f"CSPNeck was built for {len(self.deconvs)} feature maps and got {len(inputs)}; "
                "set the backbone's out_indices to match in_channels"
            )
        maps = [norm(up(x)) for x, up, norm in zip(inputs, self.deconvs, self.norms)]
        sizes = [tuple(x.shape[-2:]) for x in maps]
        if len(set(sizes)) > 1:
            raise ValueError(
                f"CSPNeck's maps come out as {sizes}: expected a backbone whose outputs have the "
                f"strides {self.strides}, and images whose height and width are multiples of "
                f"{math.lcm(*self.strides)} (data_preprocessor.pad_size_divisor)"
            )
        return (torch.cat(maps, 1),)
