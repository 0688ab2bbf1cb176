"""The policies' small network in one compiled call (``csrc/policy_net.cpp``), on a CPU.

Its reference is the module itself, ``mmdyn.policies.policy_net.PolicyNet``, which asks first
whether the operators are there.
"""

import torch
from torch import Tensor

from mmdyn.ops.library import LIBRARY

__all__ = ["is_compiled", "policy_gradient", "policy_logits"]

_FEATURES = "Tensor picture, Tensor cells, Tensor prior, Tensor[] weights"
LIBRARY.define(f"policy_logits({_FEATURES}) -> Tensor")
LIBRARY.define(f"policy_gradient({_FEATURES}, Tensor gradient) -> Tensor")


def is_compiled() -> bool:
    """Whether the operators may be called with CPU tensors."""
    return torch._C._dispatch_has_kernel_for_dispatch_key("mmdyn::policy_gradient", "CPU")


def policy_logits(picture: Tensor, cells: Tensor, prior: Tensor, weights: list[Tensor]) -> Tensor:
    """(N, GH, GW): see ``PolicyNet``; all float32, the weights in the module's order."""
    return torch.ops.mmdyn.policy_logits(picture, cells, prior, weights)


def policy_gradient(
    picture: Tensor, cells: Tensor, prior: Tensor, weights: list[Tensor], gradient: Tensor
) -> Tensor:
    """The gradient of all weights, one after the other, from that of the logits (N, GH, GW)."""
    return torch.ops.mmdyn.policy_gradient(picture, cells, prior, weights, gradient)
