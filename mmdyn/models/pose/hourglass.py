"""The stacked hourglass whose blocks are MobileNetV2's inverted residuals."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn

from mmdyn.registry import MODELS


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, 1x1 projection; the sum with the input where shapes agree.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        expand_ratio (int): Channels inside for each of the input's. Default 6.

    ``identity`` says whether the block adds its input.
    """

    def __init__(self, in_channels: int, out_channels: int, expand_ratio: int = 6) -> None:
        super().__init__()
        inner = in_channels * expand_ratio
        self.expand = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.expand_bn = nn.BatchNorm2d(inner)
        self.expand_act = nn.ReLU6(inplace=True)
        self.depthwise = nn.Conv2d(inner, inner, 3, 1, 1, groups=inner, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(inner)
        self.depthwise_act = nn.ReLU6(inplace=True)
        self.project = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.project_bn = nn.BatchNorm2d(out_channels)
        self.identity = in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.expand_act(self.expand_bn(self.expand(x)))
        out = self.depthwise_act(self.depthwise_bn(self.depthwise(out)))
        out = self.project_bn(self.project(out))
        return x + out if self.identity else out


class HourglassModule(nn.Module):
    """A U of blocks: down ``depth`` times by max-pooling, up again by repetition, a skip a level.

    Args:
        depth (int): Halvings of the map.
        channels (int): Channels throughout.
    """

    def __init__(self, depth: int, channels: int) -> None:
        super().__init__()
        self.skip = InvertedResidual(channels, channels)
        self.down = InvertedResidual(channels, channels)
        inner = HourglassModule(depth - 1, channels) if depth > 1 else None
        self.inner = inner or InvertedResidual(channels, channels)
        self.up = InvertedResidual(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = self.up(self.inner(self.down(F.max_pool2d(x, 2))))
        return self.skip(x) + F.interpolate(low, scale_factor=2, mode="nearest")


class Stack(nn.Module):
    """An hourglass, its joints' scores, and what the next one reads of them.

    Args:
        depth (int): Of the hourglass.
        channels (int): Channels of the features.
        num_joints (int): Scores per pixel.
        last (bool): Whether nothing follows.
    """

    def __init__(self, depth: int, channels: int, num_joints: int, last: bool) -> None:
        super().__init__()
        self.hourglass = HourglassModule(depth, channels)
        self.res = InvertedResidual(channels, channels)
        self.fc = nn.Conv2d(channels, channels, 1)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.score = nn.Conv2d(channels, num_joints, 1)
        self.fc_back = None if last else nn.Conv2d(channels, channels, 1)
        self.score_back = None if last else nn.Conv2d(num_joints, channels, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (N, C, h, w) to the next features and the scores (N, joints, h, w)."""
        y = self.relu(self.bn(self.fc(self.res(self.hourglass(x)))))
        score = self.score(y)
        if self.fc_back is None:
            return x, score
        return x + self.fc_back(y) + self.score_back(score), score


@MODELS.register_module()
class MobileHourglass(BaseModule):
    """A stacked hourglass of inverted residuals with scores after each stack.

    The scores of a stack are read by the next one, so they are part of the backbone; the head
    (``CPMHead`` with ``final_layer=None``) only has losses and decoding. At width 96 with 4 stacks
    and 16 joints: 6.880 M parameters, 6.895 GMACs at 256x256, of which 6.157430784 G lie in
    blocks that add their input.

    Args:
        num_joints (int): Heatmaps a stack.
        width (int): Channels of the features; a multiple of 4. Default 96.
        num_stacks (int): Default 4.
        depth (int): Halvings inside an hourglass. Default 4.
        init_cfg (dict | list | None): Weights to start from. Default PyTorch's initialisation.
    """

    def __init__(
        self,
        num_joints: int,
        width: int = 96,
        num_stacks: int = 4,
        depth: int = 4,
        init_cfg: dict | list | None = None,
    ) -> None:
        if min(num_joints, num_stacks, depth) < 1 or width < 4 or width % 4:
            raise ValueError(
                "expected num_joints, num_stacks and depth >= 1 and a width that 4 divides, got "
                f"{num_joints}, {num_stacks}, {depth} and {width}."
            )
        super().__init__(init_cfg)
        self.depth = depth
        self.conv1 = nn.Conv2d(3, width // 4, 7, 2, 3)
        self.bn1 = nn.BatchNorm2d(width // 4)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = InvertedResidual(width // 4, width // 2)
        self.layer2 = InvertedResidual(width // 2, width)
        self.layer3 = InvertedResidual(width, width)
        self.stacks = nn.ModuleList(
            Stack(depth, width, num_joints, last=k == num_stacks - 1) for k in range(num_stacks)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Images (N, 3, H, W) to a tuple of scores (N, joints, H / 4, W / 4), one a stack."""
        step = 4 << self.depth
        if x.shape[2] % step or x.shape[3] % step:
            raise ValueError(
                f"{step} does not divide the input's {x.shape[2]}x{x.shape[3]} px; choose another "
                "input_size, or a smaller depth."
            )
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(F.max_pool2d(self.layer1(x), 2)))
        scores = []
        for stack in self.stacks:
            x, score = stack(x)
            scores.append(score)
        return tuple(scores)
