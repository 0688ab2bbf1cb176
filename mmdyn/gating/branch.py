"""A residual block as its gate sees it: the convolutions of its branch, and who needs what of whom.

``y = after(shortcut(x) + mask * branch(x))``. The last convolutions run where the mask is open; one
before a k x k convolution runs wherever that reads, on the dilated mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mmdyn.ops.conv import Epilogue, fold_norm

# Less than a closed output: no gradient goes where there is no output.
_NOWHERE = -1.0


@dataclass(frozen=True)
class ConvShape:
    """A convolution with 'same' padding.

    Attributes:
        kernel, stride, dilation: (vertical, horizontal).
    """

    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros on each side."""
        return tuple(d * (k - 1) // 2 for k, d in zip(self.kernel, self.dilation))  # type: ignore

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one output position."""
        per_channel = self.in_channels // self.groups * self.kernel[0] * self.kernel[1]
        return self.out_channels * per_channel

    @property
    def pointwise(self) -> bool:
        return self.kernel == (1, 1)

    @property
    def depthwise(self) -> bool:
        return self.groups == self.in_channels == self.out_channels and self.groups > 1

    def out_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width after it."""
        return -(-size[0] // self.stride[0]), -(-size[1] // self.stride[1])

    def read_by(self, mask: Tensor, size: tuple[int, int]) -> Tensor:
        """Where its input is read for the outputs that a mask wants.

        Args:
            mask: (N, 1, *out_size(size)), 0 or 1; gradients flow through the maximum.
            size: Height and width of the input.
        """
        if self.stride != (1, 1):
            spread = mask.new_full((mask.shape[0], 1, *size), _NOWHERE)
            spread[:, :, :: self.stride[0], :: self.stride[1]] = mask
            mask = spread
        if self.pointwise:
            return mask.clamp(min=0)
        up, left = self.padding
        padded = F.pad(mask, (left, left, up, up), value=_NOWHERE)
        return F.max_pool2d(padded, self.kernel, 1, 0, self.dilation).clamp(min=0)


@dataclass(frozen=True)
class Step:
    """One convolution of a branch, with what follows it.

    Attributes:
        conv, norm: Paths below the block; norm may be None.
    """

    conv: str
    norm: str | None
    epilogue: Epilogue
    shape: ConvShape


@dataclass(frozen=True)
class Branch:
    """What a block computes.

    Attributes:
        steps: In order.
        end: Path of the module that gives the branch's output.
        shortcut: Path of the module on the other side, None for the identity.
        after: Activation after the sum.
    """

    steps: tuple[Step, ...]
    end: str
    shortcut: str | None
    after: Epilogue

    @property
    def stride(self) -> tuple[int, int]:
        vertical = horizontal = 1
        for step in self.steps:
            vertical, horizontal = (
                vertical * step.shape.stride[0],
                horizontal * step.shape.stride[1],
            )
        return vertical, horizontal

    def sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Heights and widths of the input and after every convolution."""
        found = [size]
        for step in self.steps:
            found.append(step.shape.out_size(found[-1]))
        return found

    def masks(self, mask: Tensor, size: tuple[int, int]) -> list[Tensor]:
        """Where each convolution is computed, for a mask of the block's output.

        Args:
            mask: (N, 1, H', W'), 0 or 1.
            size: Height and width of the block's input.

        Returns:
            One (N, 1, h, w) a convolution, at its output's size.
        """
        sizes = self.sizes(size)
        found = [mask]
        for step, before in zip(reversed(self.steps[1:]), reversed(sizes[1:-1])):
            found.append(step.shape.read_by(found[-1], before))
        return found[::-1]

    def executed(self, mask: Tensor, size: tuple[int, int]) -> Tensor:
        """(N,) multiply-accumulates of each image; differentiable through the dilated masks."""
        total: Tensor | float = 0.0
        for step, part in zip(self.steps, self.masks(mask, size)):
            total = total + part.flatten(1).sum(1) * float(step.shape.macs)
        return total  # type: ignore[return-value]

    def macs(self, size: tuple[int, int]) -> float:
        """Multiply-accumulates of one image with the mask open everywhere."""
        after = self.sizes(size)[1:]
        return float(sum(s.shape.macs * h * w for s, (h, w) in zip(self.steps, after)))


def folded(block: nn.Module, step: Step) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a step's convolution with its evaluation-mode norm in them."""
    conv = block.get_submodule(step.conv)
    weight, bias = conv.weight, conv.bias
    norm = None if step.norm is None else block.get_submodule(step.norm)
    if norm is None or isinstance(norm, nn.Identity):
        return weight, bias
    stats = (norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps)
    return fold_norm(weight, bias, stats)


def sources(block: nn.Module, step: Step) -> tuple:
    """The tensors that `folded` reads."""
    conv = block.get_submodule(step.conv)
    norm = None if step.norm is None else block.get_submodule(step.norm)
    names = ("running_mean", "running_var", "weight", "bias", "eps")
    return conv.weight, conv.bias, *(getattr(norm, name, None) for name in names)


def run_masked(
    block: nn.Module, branch: Branch, weights: list, x: Tensor, mask: Tensor | None
) -> Tensor:
    """The block on the whole map, its branch multiplied by the mask; evaluation mode.

    Args:
        block: Gives the shortcut.
        branch: Its description.
        weights: (weight, bias) a step, norms folded.
        x: (N, C, H, W).
        mask: (N, 1, H', W') bool, or None for open everywhere.
    """
    rows = x
    for step, (weight, bias) in zip(branch.steps, weights):
        shape = step.shape
        rows = F.conv2d(
            rows, weight, bias, shape.stride, shape.padding, shape.dilation, shape.groups
        )
        rows = step.epilogue(rows, None)
    if mask is not None:
        rows = rows.mul_(mask)
    return branch.after(rows.add_(shortcut_of(block, branch, x)), None)


def shortcut_of(block: nn.Module, branch: Branch, x: Tensor) -> Tensor:
    """The other side of the sum; `x` itself for the identity."""
    return x if branch.shortcut is None else block.get_submodule(branch.shortcut)(x)


def check_padding(shape: ConvShape, padding) -> bool:
    """Whether a convolution's padding is 'same', as masks assume."""
    return isinstance(padding, (tuple, list)) and tuple(padding) == shape.padding


def conv_shape(conv: nn.Conv2d) -> ConvShape:
    """The shape of a convolution module."""
    return ConvShape(
        conv.in_channels, conv.out_channels, tuple(conv.kernel_size), tuple(conv.stride),
        tuple(conv.dilation), conv.groups,
    )  # fmt: skip


__all__ = [
    "Branch",
    "ConvShape",
    "Step",
    "check_padding",
    "conv_shape",
    "folded",
    "run_masked",
    "shortcut_of",
    "sources",
]
