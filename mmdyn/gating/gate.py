"""A gate: says from a block's input where the block's branch is worth computing."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KINDS = ("conv1x1", "squeeze")


class Gate(nn.Module):
    """Logits of being computed, for each output pixel or tile of pixels.

    Its weights are plain parameters, not a convolution: an initialiser that a host applies to all
    its convolutions leaves them alone.

    Args:
        channels: Of the block's input.
        stride: Of the block.
        kind: 'conv1x1', or 'squeeze': a 3x3 convolution plus a linear layer on the mean of the map.
        tile: Side of a tile in output pixels; 1 decides every pixel.
        norm: Normalise the logits over the batch, so that their spread does not grow with the
            channels.
        open_init: Probability with which a position is open before training.
        topk: Keep `part`.

    Attributes:
        threshold: Logit from which a position is open in evaluation; calibration sets it.
        part: Share of the block's arithmetic that top-k gives it, in budgets; calibration sets it.
    """

    def __init__(
        self,
        channels: int,
        stride: int = 1,
        kind: str = "conv1x1",
        tile: int = 1,
        norm: bool = False,
        open_init: float = 0.9,
        topk: bool = False,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"gate must be one of {', '.join(KINDS)}, got {kind!r}")
        self.channels, self.stride, self.kind, self.tile = channels, stride, kind, tile
        side = 3 if kind == "squeeze" else 1
        fan_in = channels * side * side
        self.weight = nn.Parameter(torch.randn(1, channels, side, side) * (0.5 / fan_in**0.5))
        self.bias = nn.Parameter(torch.tensor([math.log(open_init / (1 - open_init))]))
        if kind == "squeeze":
            self.pooled = nn.Parameter(torch.randn(channels) * (0.5 / channels**0.5))
        self.norm = nn.BatchNorm2d(1, affine=False) if norm else None
        if norm:
            self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("threshold", torch.zeros(()))
        if topk:
            self.register_buffer("part", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to logits (N, 1, h, w), one a tile of the output; float32 or wider."""
        with torch.autocast(x.device.type, enabled=False):
            weight, x = _wide(self.weight), _wide(x)
            x = x.to(weight.dtype)
            squeezes = self.kind == "squeeze"
            pooled = x.mean((2, 3)) @ _wide(self.pooled) if squeezes else None
            logits = self._looked_at(x, weight)
            if pooled is not None:
                logits = logits + pooled.view(-1, 1, 1, 1)
            if self.norm is not None:
                logits = self._normalised(logits) * self.scale
            return logits + self.bias

    def _looked_at(self, x: Tensor, weight: Tensor) -> Tensor:
        """What the convolution says of each tile."""
        if self.tile == 1:
            return F.conv2d(x, weight, None, self.stride, weight.shape[2] // 2)
        side = self.tile * self.stride
        if self.kind == "squeeze":
            return F.conv2d(F.avg_pool2d(x, side, ceil_mode=True), weight, None, 1, 1)
        # The same as the product of means, in half the time for a map beyond the caches.
        return F.avg_pool2d(_product(x, weight), side, ceil_mode=True)

    def _normalised(self, logits: Tensor) -> Tensor:
        """By the batch in training; by what was seen before where there are no two logits."""
        assert self.norm is not None
        if not self.norm.training or logits.numel() > 1:
            return self.norm(logits)
        norm = self.norm
        return F.batch_norm(logits, norm.running_mean, norm.running_var, eps=norm.eps)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        """A checkpoint of a network that was calibrated without top-k has no `part`."""
        if "part" in self._buffers:
            state_dict.setdefault(f"{prefix}part", self.part)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _apply(self, fn, recurse: bool = True):
        """Statistics and threshold stay float32 in a model that is cast to half precision."""
        before = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for path, buffer in list(self.named_buffers()):
            if buffer.dtype in (torch.float16, torch.bfloat16):
                owner, _, name = path.rpartition(".")
                kept = before[path].float().to(buffer.device)
                self.get_submodule(owner)._buffers[name] = kept
        return self

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the logits for a block's input of this size."""
        step = self.stride * self.tile
        return -(-size[0] // step), -(-size[1] // step)

    def macs(self, size: tuple[int, int]) -> float:
        """Multiply-accumulates of one image for a block's input of this size."""
        height, width = self.size(size)
        if self.kind == "conv1x1" and self.tile > 1:  # at every pixel, before the mean
            height, width = size
        linear = self.channels if self.kind == "squeeze" else 0
        return float(height * width * self.weight.numel() + linear)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """(N, C, H, W) by (1, C, 1, 1) to (N, 1, H, W)."""
    if x.is_contiguous(memory_format=torch.channels_last):
        return (x.permute(0, 2, 3, 1) @ weight.flatten()).unsqueeze(1)
    return F.conv2d(x, weight)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def enlarge(mask: Tensor, tile: int, size: tuple[int, int]) -> Tensor:
    """A mask of tiles (N, 1, h, w) as one of pixels (N, 1, *size), whose last tiles may be cut."""
    if tile == 1:
        return mask
    mask = mask.repeat_interleave(tile, 2)[:, :, : size[0]]
    return mask.repeat_interleave(tile, 3)[:, :, :, : size[1]]
