"""How far the outputs of two runs are apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmdyn.blocks import BlockTensor, LaidOutBlocks

Outputs = dict[str, list[Tensor]]


def tensors_of(value: Any, found: list[Tensor]) -> list[Tensor]:
    """All floating-point tensors in nested outputs, as copies of their own."""
    if isinstance(value, (BlockTensor, LaidOutBlocks)):
        value = value.composite()
    if isinstance(value, Tensor):
        if value.is_floating_point():
            found.append(value.detach().clone(memory_format=torch.contiguous_format))
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            tensors_of(value[key], found)
    elif isinstance(value, (list, tuple)):
        for item in value:
            tensors_of(item, found)
    elif hasattr(value, "all_items"):
        tensors_of(dict(value.all_items()), found)
    return found


def relative_error(ours: Tensor, reference: Tensor, least: float = 1e-6) -> float:
    """Largest difference over the largest value; infinite where shapes or infinities differ.

    Args:
        ours, reference: To be compared.
        least: That the largest value counts as.
    """
    if ours.shape != reference.shape:
        return float("inf")
    if not reference.numel():
        return 0.0
    ours, reference = ours.double(), reference.double()
    finite = torch.isfinite(reference)
    if not torch.equal(finite, torch.isfinite(ours)):
        return float("inf")
    if not torch.equal(reference[~finite].nan_to_num(), ours[~finite].nan_to_num()):
        return float("inf")
    scale = reference[finite].abs().max() if finite.any() else reference.new_ones(())
    difference = (ours - reference)[finite].abs()
    return float(difference.max() / scale.clamp(min=least)) if difference.numel() else 0.0


def worst_error(ours: Outputs, reference: Outputs) -> tuple[float, str]:
    worst = (0.0, "")
    for name, tensors in reference.items():
        mine = ours.get(name, [])
        if len(mine) != len(tensors):
            return float("inf"), f"{name}: {len(mine)} tensors, not {len(tensors)}"
        for i, (a, b) in enumerate(zip(mine, tensors)):
            error = relative_error(a, b, _typical(b, tensors) if b.numel() == 1 else 1e-6)
            if not error <= worst[0]:
                worst = error, f"{name}[{i}] {tuple(b.shape)}"
    return worst


def _typical(number: Tensor, outputs: list[Tensor]) -> float:
    """The largest value in the other levels of a single number's head: it may itself be near 0."""
    like = [t for t in outputs if t.dim() == number.dim() and t.shape[:2] == number.shape[:2]]
    return max(float(t.nan_to_num(0, 0, 0).abs().max()) for t in like if t.numel())
