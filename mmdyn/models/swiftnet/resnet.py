"""mmseg's ResNet as SwiftNet's encoder."""

from __future__ import annotations

import torch.nn.functional as F
from mmseg.models.backbones import ResNet
from torch import Tensor, nn

from mmdyn.registry import MODELS


def residual_sum(block: nn.Module, x: Tensor) -> Tensor:
    """What a residual block of mmseg computes, without its last ReLU."""
    out = x
    for i in (1, 2, 3):
        if not hasattr(block, f"conv{i}"):
            break
        out = block.relu(out) if i > 1 else out
        out = getattr(block, f"norm{i}")(getattr(block, f"conv{i}")(out))
    return out + (x if block.downsample is None else block.downsample(x))


@MODELS.register_module()
class SwiftNetResNet(ResNet):
    """A ResNet whose outputs are taken after or before the last ReLU of each stage.

    The weights have the stock names. With 'post' it is the stock network.

    Args:
        skips (str): 'post' (after the ReLU) or 'pre' (before it, as SwiftNet was first
            published). Default 'post'.
        **kwargs: See ``mmseg.models.ResNet``.
    """

    def __init__(self, skips: str = "post", **kwargs) -> None:
        if skips not in ("post", "pre"):
            raise ValueError(f"skips is {skips!r}; choose 'post' or 'pre'")
        super().__init__(**kwargs)
        if skips == "pre" and (self.plugins or self.with_cp):
            raise ValueError(
                "skips='pre' runs the last block of each stage itself and knows neither plugins "
                "nor with_cp; leave them out or choose skips='post'"
            )
        self.skips = skips
        if skips == "pre":
            for name in self.res_layers:
                getattr(self, name)[-1].bypassed = "SwiftNetResNet(skips='pre') runs its layers"

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) to the maps of `out_indices`, finest first."""
        if self.skips == "post":
            return super().forward(x)
        x = self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x)))
        x = self.maxpool(x)
        outs = []
        for i, name in enumerate(self.res_layers):
            *blocks, last = getattr(self, name)
            for block in blocks:
                x = block(x)
            before = residual_sum(last, x)
            x = F.relu(before)
            if i in self.out_indices:
                outs.append(before)
        return tuple(outs)
