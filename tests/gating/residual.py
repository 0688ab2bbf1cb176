"""Residual blocks of every kind, in plain PyTorch, and masks for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmdyn.conversion.residuals import find_residuals
from mmdyn.gating.branch import Branch, folded


class Basic(nn.Module):
    """Two 3x3 convolutions."""

    def __init__(self, inputs=8, outputs=8, stride=1, dilation=1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = side(inputs, outputs, stride)

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1; the stride in the 3x3 or (caffe) in the first."""

    def __init__(
        self, inputs=16, mid=8, outputs=16, stride=1, dilation=1, groups=1, caffe=False, last=1
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if caffe else (1, stride)
        self.conv1 = nn.Conv2d(inputs, mid, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(mid)
        self.conv2 = nn.Conv2d(mid, mid, 3, second, dilation, dilation, groups, bias=False)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv3 = nn.Conv2d(mid, outputs, 1, groups=last, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = side(inputs, outputs, stride)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class Inverted(nn.Module):
    """1x1, depthwise, 1x1, and nothing after the sum."""

    def __init__(self, channels=8, expand=3, kernel=3, dilation=1) -> None:
        super().__init__()
        mid, pad = channels * expand, dilation * (kernel // 2)
        self.identity = True
        self.conv = nn.Sequential(
            nn.Conv2d(channels, mid, 1, bias=False), nn.BatchNorm2d(mid), nn.ReLU6(inplace=True),
            nn.Conv2d(mid, mid, kernel, 1, pad, dilation, mid, bias=False), nn.BatchNorm2d(mid),
            nn.ReLU6(inplace=True), nn.Conv2d(mid, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x):
        return x + self.conv(x) if self.identity else self.conv(x)


def side(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """The projection of a block that changes the shape."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


BLOCKS = {
    "basic": lambda: Basic(),
    "basic stride 2": lambda: Basic(8, 12, 2),
    "basic dilation 2": lambda: Basic(dilation=2),
    "basic wider": lambda: Basic(8, 12),
    "bottleneck": lambda: Bottleneck(),
    "bottleneck stride 2": lambda: Bottleneck(outputs=24, stride=2),
    "bottleneck caffe stride 2": lambda: Bottleneck(outputs=24, stride=2, caffe=True),
    "bottleneck dilation 4": lambda: Bottleneck(dilation=4),
    "bottleneck groups": lambda: Bottleneck(groups=4),
    "bottleneck groups stride 2": lambda: Bottleneck(outputs=24, stride=2, groups=2),
    "bottleneck groups in the last": lambda: Bottleneck(last=4),
    "bottleneck depthwise in the last": lambda: Bottleneck(mid=16, last=16),
    "inverted": lambda: Inverted(),
    "inverted 5x5": lambda: Inverted(kernel=5),
    "inverted dilation 2": lambda: Inverted(dilation=2),
}


def made(kind: str) -> nn.Module:
    """A block of `BLOCKS` with norms that do something, in evaluation mode."""
    return randomised(BLOCKS[kind]()).eval()


def randomised(model: nn.Module) -> nn.Module:
    """The model with norms whose statistics and weights are not those of the start."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
    return model


def described(block: nn.Module) -> Branch:
    """What the conversion finds in a block."""
    (found,) = find_residuals(block)
    assert found.branch is not None, found.reason
    return found.branch


def weights_of(block: nn.Module, branch: Branch) -> list:
    """(weight, bias) of each convolution, norm folded."""
    with torch.no_grad():
        return [folded(block, step) for step in branch.steps]


def masks(images: int, size: tuple[int, int]) -> dict[str, Tensor]:
    """Of all kinds, (N, 1, *size) bool."""
    full = torch.ones(images, 1, *size, dtype=torch.bool)
    one = torch.zeros_like(full)
    one[-1, 0, -1, -1] = True
    return {
        "full": full,
        "empty": torch.zeros_like(full),
        "one": one,
        "some": torch.rand(images, 1, *size) < 0.4,
    }
