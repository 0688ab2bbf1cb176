"""Modules tried on noise: whether they add their input, and compute what their layers say."""

from __future__ import annotations

import copy
import inspect

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmdyn.gating.branch import Branch, folded, run_masked
from mmdyn.ops.library import undisturbed

_SIDE = 12  # of the noise
_MOST = 16  # convolutions of one block
_AFTER = (lambda x: x, F.relu, F.relu6, F.leaky_relu, F.silu, F.gelu, F.hardswish, F.elu)


def has_convolutions(module: nn.Module) -> bool:
    """Whether there is one below a module, which is none itself."""
    return any(isinstance(m, _ConvNd) for m in module.modules()) and not isinstance(module, _ConvNd)


@undisturbed()
def difference(block: nn.Module, branch: Branch) -> str:
    """How a block differs from its description; empty if it does not."""
    if any(t.is_meta for t in block.state_dict().values()):
        return "its weights are on no device yet"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        twin = copy.deepcopy(block).cpu().float().eval()
        for tensor in twin.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) - 0.3 if tensor.dim() > 1
                             else torch.rand_like(tensor) + 0.2)  # fmt: skip
        x = torch.randn(1, branch.steps[0].shape.in_channels, _SIDE, _SIDE + 2)
    weights = [folded(twin, step) for step in branch.steps]
    try:
        wanted, found = twin(x.clone()), run_masked(twin, branch, weights, x.clone(), None)
    except Exception as error:
        return f"it could not be tried ({type(error).__name__}: {error})"
    if not isinstance(wanted, Tensor) or wanted.shape != found.shape:
        return "its output is not that of a residual block"
    far = float((wanted - found).abs().max() / wanted.abs().max().clamp(min=1e-12))
    return "" if far < 1e-4 else f"it computes more than its layers say (off by {far:.0e})"


@undisturbed()
def adds_its_input(module: nn.Module, shortcut: str | None) -> bool:
    """Whether a module gives its input back once its weights are zero: a residual block.

    Args:
        module: Any; one that needs more than a map (N, C, H, W) is none.
        shortcut: Name of the module that its input passes, which keeps its weights.
    """
    inside = f"{shortcut}."
    paths = [p for p, m in module.named_modules() if isinstance(m, _ConvNd)]
    paths = [p for p in paths if shortcut is None or not f"{p}.".startswith(inside)]
    if not 0 < len(paths) <= _MOST or not _takes_a_map(module):
        return False
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            twin = copy.deepcopy(module).cpu().float().eval()
            for m in twin.modules():
                m._forward_hooks.clear()
                m._forward_pre_hooks.clear()
            for name, tensor in twin.state_dict().items():
                weighs = tensor.is_floating_point() and not name.endswith("running_var")
                if weighs and (shortcut is None or not name.startswith(inside)):
                    tensor.zero_()
            x = torch.randn(1, twin.get_submodule(paths[0]).in_channels, _SIDE, _SIDE + 2)
            out = twin(x.clone())
            passed = x if shortcut is None else twin.get_submodule(shortcut)(x)
    except Exception:  # whatever a module raises that takes no such map
        return False
    if not isinstance(out, Tensor) or out.shape != passed.shape or not bool(passed.any()):
        return False
    return any(torch.allclose(out, after(passed), atol=1e-5) for after in _AFTER)


def _takes_a_map(module: nn.Module) -> bool:
    """Whether one argument is enough for its forward."""
    if type(module).forward is nn.Module.forward or type(module).forward is nn.Sequential.forward:
        return False
    parameters = inspect.signature(type(module).forward).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    wanted = [p for p in parameters if p.default is p.empty and p.kind in kinds]
    return len(wanted) == 2  # and self
