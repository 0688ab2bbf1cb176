"""Finds residual blocks by their structure, and proves on noise that they are what they seem."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from mmdyn.conversion.residual_trials import adds_its_input, difference, has_convolutions
from mmdyn.gating.branch import Branch, Step, check_padding, conv_shape
from mmdyn.ops.conv import Epilogue

_SHORTCUTS = ("downsample", "shortcut")
# Attributes by which blocks say that they add their input.
_ADDS = ("use_res_connect", "with_res_shortcut", "identity", "has_identity", "add_identity")
_ACTIVATIONS = {
    nn.ReLU: lambda m: Epilogue("relu"),
    nn.ReLU6: lambda m: Epilogue("hardtanh", (0.0, 6.0)),
    nn.LeakyReLU: lambda m: Epilogue("leaky_relu", (m.negative_slope,)),
    nn.SiLU: lambda m: Epilogue("swish"),
    nn.Hardswish: lambda m: Epilogue("hardswish"),
}
_RELU, _NONE = Epilogue("relu"), Epilogue()


class Refused(Exception):
    """A residual block that cannot be gated; the message says why."""


@dataclass
class Found:
    """A residual block of a network.

    Attributes:
        path: Of the block.
        block: The block.
        branch: What it computes; None if it cannot be gated.
        reason: Why it cannot.
    """

    path: str
    block: nn.Module
    branch: Branch | None
    reason: str = ""


def find_residuals(model: nn.Module) -> Iterator[Found]:
    """All residual blocks of a network, those that cannot be gated with the reason.

    A network that does not call a block's forward says so in the block's attribute ``bypassed``.
    """
    modules = dict(model.named_modules())
    found = {one.path: one for one in _by_structure(modules)}
    for path, module in reversed(modules.items()):  # the innermost first
        apart = not any(_within(path, one) or _within(one, path) for one in found)
        if apart and has_convolutions(module) and adds_its_input(module, _side(module)):
            reason = "it adds its input, but its structure is not understood"
            found[path] = Found(path, module, None, reason)
    yield from (found[path] for path in modules if path in found)


def _within(path: str, outer: str) -> bool:
    return not outer or f"{path}.".startswith(f"{outer}.")


def _side(block: nn.Module) -> str | None:
    """Name of the module on the other side of the sum, if it has one."""
    return next((n for n in _SHORTCUTS if block._modules.get(n) is not None), None)


def _by_structure(modules: dict[str, nn.Module]) -> Iterator[Found]:
    """Those that look like a block that we know."""
    inside: list[str] = []
    proven: dict[str, str] = {}
    for path, module in modules.items():
        if any(_within(path, outer) for outer in inside) or not has_convolutions(module):
            continue
        try:
            branch = _read(module)
            if branch is None:
                continue
            if getattr(module, "bypassed", ""):
                raise Refused(module.bypassed)
            _prove(module, branch, proven)
        except Refused as error:
            if _pair(module) and not any(getattr(module, name, False) for name in _ADDS):
                continue  # two convolutions in a row
            yield Found(path, module, None, str(error))
        else:
            yield Found(path, module, branch)
        inside.append(path)


def _read(block: nn.Module) -> Branch | None:
    """What a module's structure says that it computes; None for what is no residual block."""
    children = block._modules
    shortcut = next((n for n in _SHORTCUTS if hasattr(block, n)), None)
    if {"conv1", "conv2"} <= children.keys() and shortcut is not None:
        return _numbered(block, shortcut)
    if any(getattr(block, n, False) for n in _ADDS) or _pair(block):
        return _chained(block)
    return None


def _pair(block: nn.Module) -> bool:
    """Two of mmcv's ``ConvModule`` alone: Darknet's block if it adds, which noise tells."""
    children = block._modules
    return children.keys() == {"conv1", "conv2"} and all(
        "conv" in getattr(child, "_modules", {}) and hasattr(child, "with_norm")
        for child in children.values()
    )


def _numbered(block: nn.Module, shortcut: str) -> Branch:
    """conv1, norm1, activation, conv2, norm2 ...: the ResNets' blocks."""
    activation = _shared_activation(block)
    steps: list[Step] = []
    used = {shortcut, "drop_path", *_names_of_activations(block)}
    count = 1
    while f"conv{count}" in block._modules:
        names = (getattr(block, f"norm{count}_name", ""), f"bn{count}", f"norm{count}")
        norm = next((n for n in names if block._modules.get(n) is not None), None)
        steps.append(_step(block, f"conv{count}", norm, activation))
        used |= {f"conv{count}", norm or ""}
        count += 1
    _refuse_others(block, used)
    last = steps[-1]
    steps[-1] = Step(last.conv, last.norm, _NONE, last.shape)
    other = getattr(block, shortcut)
    plain = other is None or type(other) is nn.Identity
    plain = plain or (type(other) is nn.Sequential and not len(other))
    return Branch(tuple(steps), last.norm or last.conv, None if plain else shortcut, activation)


def _chained(block: nn.Module) -> Branch:
    """Convolutions in the order they are registered, then the sum: inverted residuals."""
    steps: list[Step] = []
    end = ""
    for path, module in _flat(block):
        if isinstance(module, nn.Conv2d):
            steps.append(_step(block, path, None, _NONE))
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and steps:
            steps[-1] = _step(block, steps[-1].conv, path, steps[-1].epilogue)
        elif _maker(module) and steps:
            last = steps[-1]
            steps[-1] = Step(last.conv, last.norm, _epilogue(module), last.shape)
        elif isinstance(module, nn.Identity) or type(module).__name__ == "DropPath":
            continue
        else:
            raise Refused(f"its {path} ({type(module).__name__}) is not understood")
        end = path
    return Branch(tuple(steps), end, None, _NONE)


def _flat(block: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Leaves in order; an mmcv ``ConvModule``'s by what it says of itself."""
    for name, child in block._modules.items():
        if child is None:
            continue
        path = f"{prefix}{name}"
        if hasattr(child, "with_norm") and "conv" in child._modules:
            if tuple(getattr(child, "order", ("conv", "norm", "act"))) != ("conv", "norm", "act"):
                raise Refused(f"its {path} runs in the order {child.order}")
            yield f"{path}.conv", child._modules["conv"]
            if child.with_norm:
                yield f"{path}.{child.norm_name}", child._modules[child.norm_name]
            if getattr(child, "with_activation", False):
                yield f"{path}.activate", child._modules["activate"]
        elif isinstance(child, nn.Sequential):
            yield from _flat(child, f"{path}.")
        else:
            yield path, child


def _step(block: nn.Module, conv: str, norm: str | None, epilogue: Epilogue) -> Step:
    module = block.get_submodule(conv)
    if not isinstance(module, nn.Conv2d):
        raise Refused(f"its {conv} is a {type(module).__name__}, not a plain convolution")
    shape = conv_shape(module)
    if module.padding_mode != "zeros" or not check_padding(shape, module.padding):
        raise Refused(f"its {conv} pads {module.padding} ({module.padding_mode}), not 'same'")
    statistics = None if norm is None else block.get_submodule(norm)
    if not isinstance(statistics, (type(None), nn.Identity)):  # an identity: mmcv has fused it
        if not isinstance(statistics, nn.modules.batchnorm._BatchNorm):
            raise Refused(f"its {norm} is a {type(statistics).__name__}, which sees the whole map")
        if statistics.running_mean is None:
            raise Refused(f"its {norm} keeps no running statistics")
    return Step(conv, norm, epilogue, shape)


def _maker(module: nn.Module):
    """What makes the epilogue of an activation, None for other modules; noise proves it."""
    if type(module).__name__ == "Swish" and not module._modules:  # mmcv's own
        return _ACTIVATIONS[nn.SiLU]
    return _ACTIVATIONS.get(type(module))


def _epilogue(module: nn.Module) -> Epilogue:
    make = _maker(module)
    if make is None:
        raise Refused(f"its activation is a {type(module).__name__}")
    return make(module)


def _names_of_activations(block: nn.Module) -> set[str]:
    return {n for n, m in block._modules.items() if n in ("relu", "act", "activation") and m}


def _shared_activation(block: nn.Module) -> Epilogue:
    names = _names_of_activations(block)
    return _epilogue(block._modules[min(names)]) if names else _RELU


def _refuse_others(block: nn.Module, used: set[str]) -> None:
    for name, child in block._modules.items():
        if name not in used and child is not None and next(child.parameters(), None) is not None:
            raise Refused(f"its {name} ({type(child).__name__}) is not understood")


def _prove(block: nn.Module, branch: Branch, proven: dict[str, str]) -> None:
    """Compares the block with its description on noise; equal structures once."""
    kind = f"{type(block).__module__}.{type(block).__qualname__} {branch} {block!r}"
    if kind not in proven:
        proven[kind] = difference(block, branch)
    if proven[kind]:
        raise Refused(proven[kind])
