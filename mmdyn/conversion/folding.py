"""Batch norms outside of gated branches, folded into the convolution before them in evaluation.

A norm by itself writes a whole map anew: in a gated ResNet-50 the stem's and the shortcuts' took a
fifth of the time. The convolution computes with both weights, and the norm passes on what it made.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmdyn.conversion.dynamic import DynamicMixin, make_dynamic, make_static, runtime_of
from mmdyn.conversion.fingerprint import hooked_everywhere
from mmdyn.ops.conv import fold_norm

if TYPE_CHECKING:
    from mmdyn.conversion.dynconv_runtime import DynConvRuntime

_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
_STEMS = {  # whose forward begins with conv1, then norm1
    "mmdet.models.backbones.resnet": "ResNet",
    "mmseg.models.backbones.resnet": "ResNet",
    "mmpretrain.models.backbones.resnet": "ResNet",
    "mmpretrain.models.backbones.resnet_cifar": "ResNet_CIFAR",
}


class FoldedPair:
    """A convolution and the norm that alone reads what it makes.

    Args:
        parent: The module that has both.
        conv, norm: Their names in it.
        owner: The model's runtime.
    """

    def __init__(self, parent: nn.Module, conv: str, norm: str, owner: DynConvRuntime) -> None:
        self.parent, self.conv, self.norm, self.owner = parent, conv, norm, owner
        self.made: Tensor | None = None  # by the convolution, on its way to the norm

    def members(self) -> tuple[nn.Module | None, nn.Module | None]:
        """The convolution and the norm that the parent has now."""
        held = self.parent._modules
        return held.get(self.conv), held.get(self.norm)

    def serves(self) -> bool:
        """Whether both are there, in evaluation, and nobody looks at what lies between them."""
        if not self.owner.running or self.owner.all_open:  # one module may be called by itself
            return False
        if torch.is_grad_enabled() or hooked_everywhere():
            return False
        conv, norm = self.members()
        for member in (conv, norm):
            if not isinstance(member, _FoldedMixin) or runtime_of(member) is not self:
                return False  # somebody put another one there
        return not (norm.training or conv._forward_hooks or norm._forward_pre_hooks)

    def weights(self) -> tuple[Tensor, Tensor]:
        """Of the convolution, with the norm in them."""
        conv, norm = self.members()
        stats = (norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps)

        def make() -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                return fold_norm(conv.weight, conv.bias, stats)

        sources = conv.weight, conv.bias, *stats
        return self.owner.constants.kept("folded norm", sources, make)


class _FoldedMixin(DynamicMixin):
    method = "Folded"


class FoldedConvMixin(_FoldedMixin):
    """A convolution that computes the norm after it too, where nobody minds."""

    def forward(self, x: Tensor) -> Tensor:
        pair: FoldedPair = runtime_of(self)
        pair.made = None
        if not pair.serves():
            return super().forward(x)
        pair.made = self._conv_forward(x, *pair.weights())
        return pair.made


class FoldedNormMixin(_FoldedMixin):
    """A norm that passes on what its convolution has normalised."""

    def forward(self, x: Tensor) -> Tensor:
        pair: FoldedPair = runtime_of(self)
        made, pair.made = pair.made, None
        return x if made is x else super().forward(x)


def fold_norms(model: nn.Module, shortcuts: Iterable[nn.Module], owner: DynConvRuntime) -> None:
    """Makes pairs of the convolutions and norms of known stems and of shortcuts.

    Args:
        model: The network.
        shortcuts: The other sides of its gated blocks.
        owner: The model's runtime.
    """
    for parent, conv, norm in [*_of_stems(model), *_in_rows(shortcuts)]:
        pair = parent._modules.get(conv), parent._modules.get(norm)
        if _fits(*pair) and not any(_is_shared(model, member) for member in pair):
            state = FoldedPair(parent, conv, norm, owner)
            make_dynamic(pair[0], FoldedConvMixin, state)
            make_dynamic(pair[1], FoldedNormMixin, state)


def unfold_norms(model: nn.Module) -> None:
    """Undoes `fold_norms`."""
    for module in model.modules():
        if isinstance(module, _FoldedMixin):
            make_static(module)


def _fits(conv: nn.Module | None, norm: nn.Module | None) -> bool:
    """Whether the norm's evaluation is a scale and a shift of that convolution's channels."""
    if type(conv) is not nn.Conv2d or type(norm) not in _NORMS:
        return False
    return norm.running_mean is not None and norm.num_features == conv.out_channels


def _is_shared(model: nn.Module, member: nn.Module | None) -> bool:
    return sum(member is m for parent in model.modules() for m in parent._modules.values()) > 1


def _of_stems(model: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Parents, and the names of a convolution and a norm that alone reads what it makes."""
    for parent in model.modules():
        for module, name in _STEMS.items():
            cls = getattr(sys.modules.get(module), name, None)
            if (
                cls is None
                or not isinstance(parent, cls)
                or type(parent).forward is not cls.forward
            ):
                continue
            if getattr(parent, "deep_stem", False):
                yield from _in_rows([parent.stem])
            else:
                yield parent, "conv1", parent.norm1_name


def _in_rows(rows: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, str, str]]:
    """The same of plain Sequentials that are called as a whole."""
    for row in rows:
        if isinstance(row, nn.Sequential) and type(row).forward is nn.Sequential.forward:
            names = list(row._modules)
            yield from ((row, *pair) for pair in zip(names, names[1:]))
