"""Batch norms outside of gated branches, folded into the convolution before them in evaluation.

A norm by itself writes a whole map anew: in a gated ResNet-50 the stem's and the shortcuts' took a
fifth of the time. The convolution computes with both weights, and the norm passes on what it made.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdyn.conversion.dynamic import DynamicMixin, make_dynamic, make_static, runtime_of
from mmdyn.conversion.fingerprint import hooked_everywhere
from mmdyn.ops.conv import fold_norm

if TYPE_CHECKING:
    from mmdyn.conversion.dynconv_runtime import DynConvRuntime

_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
_CONVS = (nn.Conv2d, nn.ConvTranspose2d)
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

    Attributes:
        whole: Whether the parent runs both now; `CalledWhole` says so of those that may not.
    """

    def __init__(self, parent: nn.Module, conv: str, norm: str, owner: DynConvRuntime) -> None:
        self.parent, self.conv, self.norm, self.owner = parent, conv, norm, owner
        self.whole = True
        self.made: Tensor | None = None  # by the convolution, on its way to the norm

    def members(self) -> tuple[nn.Module | None, nn.Module | None]:
        """The convolution and the norm that the parent has now."""
        held = self.parent._modules
        return held.get(self.conv), held.get(self.norm)

    def serves(self) -> bool:
        """Whether both are there, in evaluation, and nobody looks at what lies between them."""
        running = self.owner.running and self.whole  # one module may be called by itself
        if not running or self.owner.all_open:
            return False
        if torch.is_grad_enabled() or hooked_everywhere():
            return False
        conv, norm = self.members()
        for member in (conv, norm):
            if not isinstance(member, _FoldedMixin) or runtime_of(member) is not self:
                return False  # somebody put another one there
        shown = conv._forward_hooks or norm._forward_pre_hooks or norm._forward_hooks
        if shown or "forward" in vars(norm) or norm.running_mean is None:
            return False
        return not norm.training

    def weights(self) -> tuple[Tensor, Tensor]:
        """Of the convolution, with the norm in them."""
        conv, norm = self.members()
        stats = (norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps)

        @torch.no_grad()
        def make() -> tuple[Tensor, Tensor]:
            if isinstance(conv, nn.Conv2d):
                return fold_norm(conv.weight, conv.bias, stats)
            weight, bias = fold_norm(conv.weight.transpose(0, 1), conv.bias, stats)
            return weight.transpose(0, 1).contiguous(memory_format=torch.channels_last), bias

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


class FoldedTransposeMixin(_FoldedMixin):
    """The same of a transposed convolution."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        pair: FoldedPair = runtime_of(self)
        pair.made = None
        if output_size is not None or not pair.serves():
            return super().forward(x, output_size)
        weight, bias = pair.weights()
        pair.made = F.conv_transpose2d(
            x, weight, bias, self.stride, self.padding, self.output_padding, 1, self.dilation
        )
        return pair.made


class FoldedNormMixin(_FoldedMixin):
    """A norm that passes on what its convolution has normalised."""

    def forward(self, x: Tensor) -> Tensor:
        pair: FoldedPair = runtime_of(self)
        made, pair.made = pair.made, None
        return x if made is x else super().forward(x)


class CalledWhole:
    """Pre-hook and hook of a module that may also run its convolution without the norm.

    Args:
        pairs: Its pairs.
        begins: Whether this is the pre-hook.
    """

    def __init__(self, pairs: list[FoldedPair], begins: bool) -> None:
        self.pairs, self.begins = pairs, begins

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict, output=None) -> None:
        # A ConvModule is called with (x, activate, norm).
        normed = kwargs.get("norm", args[2] if len(args) > 2 else True)
        whole = self.begins and bool(normed) and getattr(module, "with_norm", True)
        for pair in self.pairs:
            pair.whole = whole and "forward" not in vars(module)


def fold_norms(
    model: nn.Module, blocks: Iterable[nn.Module], shortcuts: Iterable[nn.Module],
    owner: DynConvRuntime,
) -> None:  # fmt: skip
    """Makes pairs of the convolutions and norms outside of gated branches.

    Args:
        model: The network.
        blocks: Its gated blocks.
        shortcuts: Their other sides.
        owner: The model's runtime.
    """
    for names in [*_of_stems(model), *_in_rows(shortcuts)]:
        _pair(model, *names, owner)
    inside = {id(m) for block in blocks for m in block.modules()}
    others = [m for m in model.modules() if id(m) not in inside]
    for parent in others:
        found = [_pair(model, *names, owner) for names in [*_in_rows([parent]), *_within([parent])]]
        pairs = [pair for pair in found if pair is not None]
        if pairs:
            for pair in pairs:
                pair.whole = False
            parent.register_forward_pre_hook(CalledWhole(pairs, True), with_kwargs=True)
            parent.register_forward_hook(
                CalledWhole(pairs, False), with_kwargs=True, always_call=True
            )


def _pair(
    model: nn.Module, parent: nn.Module, conv: str, norm: str, owner: DynConvRuntime
) -> FoldedPair | None:
    """Makes a pair of two that fit and are free."""
    pair = parent._modules.get(conv), parent._modules.get(norm)
    if not _fits(*pair) or any(_is_shared(model, member) for member in pair):
        return None
    state = FoldedPair(parent, conv, norm, owner)
    plain = isinstance(pair[0], nn.Conv2d)
    make_dynamic(pair[0], FoldedConvMixin if plain else FoldedTransposeMixin, state)
    make_dynamic(pair[1], FoldedNormMixin, state)
    return state


def unfold_norms(model: nn.Module) -> None:
    """Undoes `fold_norms`."""
    for module in model.modules():
        if isinstance(module, _FoldedMixin):
            make_static(module)
        for kind in ("_forward_pre_hooks", "_forward_hooks"):
            hooks = getattr(module, kind)
            for key in [key for key, hook in hooks.items() if isinstance(hook, CalledWhole)]:
                for held in (hooks, getattr(module, f"{kind}_with_kwargs")):
                    del held[key]
                module._forward_hooks_always_called.pop(key, None)


def _fits(conv: nn.Module | None, norm: nn.Module | None) -> bool:
    """Whether the norm's evaluation is a scale and a shift of that convolution's channels."""
    if type(conv) not in _CONVS or type(norm) not in _NORMS:
        return False
    if type(conv) is nn.ConvTranspose2d and conv.groups != 1:
        return False
    if conv._forward_pre_hooks:  # such as spectral norm's, which makes weights anew
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


def _within(modules: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, str, str]]:
    """The same of mmcv's ConvModules."""
    cls = getattr(sys.modules.get("mmcv.cnn.bricks.conv_module"), "ConvModule", None)
    for module in modules:
        if cls is None or not isinstance(module, cls) or type(module).forward is not cls.forward:
            continue
        follows = module.order.index("norm") == module.order.index("conv") + 1
        if module.with_norm and follows:
            yield module, "conv", module.norm_name
