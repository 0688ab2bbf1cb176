"""The narrow three-stage ResNets for 32x32 images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdyn.registry import MODELS


class PadShortcut(nn.Module):
    """The shortcut without weights: every stride-th pixel, new channels zero on both sides.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        stride (int): Step in pixels. Default 2.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2) -> None:
        super().__init__()
        added = out_channels - in_channels
        if added < 0:
            raise ValueError(
                f"expected out_channels >= in_channels, got {out_channels} < {in_channels}; a "
                "shortcut that only pads cannot drop channels, use a projection."
            )
        self.stride, self.before, self.after = stride, added // 2, added - added // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, with the attributes of mmdet's block of that name.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        stride (int): Of the first convolution. Default 1.
        downsample (nn.Module | None): The shortcut where shapes differ. Default None.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.stride, self.dilation, self.with_cp = stride, 1, False

    @property
    def norm1(self) -> nn.Module:
        return self.bn1

    @property
    def norm2(self) -> nn.Module:
        return self.bn2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(out)) + identity)


@MODELS.register_module()
class CIFARResNet(BaseModule):
    """ResNet-8, 14, 20, 26, 32, … for 32x32 images: a 3x3 stem and three stages.

    mmpretrain's ``ResNet_CIFAR`` is another network: four wide stages of depth 18 and more.

    Args:
        depth (int): 6n + 2 layers, n blocks a stage.
        base_channels (int): Channels of the first stage, doubled at each next. Default 16.
        shortcut (str): Where shapes differ: 'projection' (1x1 convolution and BN) or 'pad'
            (no weights; what the published CIFAR weights have). Default 'projection'.
        out_indices (tuple): Stages whose features are returned. Default (2,).
        frozen_stages (int): The stem and this many stages are not trained; -1 for none.
            Default -1.
        norm_eval (bool): Keeps the norms' statistics in training. Default False.
        init_cfg (dict | list | None): Weights to start from. Default He's, fan-out.
    """

    def __init__(
        self,
        depth: int,
        base_channels: int = 16,
        shortcut: str = "projection",
        out_indices: tuple[int, ...] = (2,),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(
                f"expected a depth of 6n + 2 (8, 14, 20, 26, 32, …), got {depth}; deeper stages of "
                "other shapes are mmpretrain's ResNet_CIFAR."
            )
        if shortcut not in ("projection", "pad"):
            raise ValueError(f"shortcut must be 'projection' or 'pad', got {shortcut!r}.")
        if not out_indices or not set(out_indices) <= {0, 1, 2}:
            raise ValueError(f"out_indices must name stages 0 to 2, got {tuple(out_indices)}.")
        if not -1 <= frozen_stages <= 3:
            raise ValueError(f"frozen_stages must be -1 to 3, got {frozen_stages}.")
        super().__init__(
            init_cfg or dict(type="Kaiming", layer="Conv2d", mode="fan_out", distribution="normal")
        )
        self.shortcut, self.out_indices = shortcut, tuple(out_indices)
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        self.conv1 = nn.Conv2d(3, base_channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(base_channels)
        self.relu = nn.ReLU(inplace=True)
        channels = base_channels
        for stage in range(3):
            out, stride = base_channels << stage, 1 if stage == 0 else 2
            blocks = [BasicBlock(channels, out, stride, self._shortcut(channels, out, stride))]
            blocks += [BasicBlock(out, out) for _ in range((depth - 2) // 6 - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            channels = out
        self._freeze()

    @property
    def norm1(self) -> nn.Module:
        return self.bn1

    def _shortcut(self, channels: int, out: int, stride: int) -> nn.Module | None:
        if stride == 1 and channels == out:
            return None
        if self.shortcut == "pad":
            return PadShortcut(channels, out, stride)
        conv = nn.Conv2d(channels, out, 1, stride, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(out))

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        stages = [getattr(self, f"layer{k + 1}") for k in range(self.frozen_stages)]
        for module in (self.conv1, self.bn1, *stages):
            module.eval()
            module.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Images (N, 3, H, W) to the features of the stages in ``out_indices``."""
        x = self.relu(self.norm1(self.conv1(x)))
        features = []
        for stage in range(3):
            x = getattr(self, f"layer{stage + 1}")(x)
            if stage in self.out_indices:
                features.append(x)
        return tuple(features)

    def train(self, mode: bool = True) -> CIFARResNet:
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
