"""Finds where the host asks a tensor for its values, or sends numbers in a way that waits.

On a CPU nothing of this takes time; with the same code on a device each would let it run empty.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_METHODS = (
    "tolist", "item", "__bool__", "__int__", "__float__", "__index__", "cpu", "numpy", "equal",
    "new_tensor",
)  # fmt: skip
_FUNCTIONS = ("equal", "tensor", "as_tensor", "allclose")
_OPERATORS = {"nonzero", "_local_scalar_dense", "masked_select", "unique_dim", "_unique2"}
_LATER = Path("ops", "transfer.py")  # asks for what was sent off before


def _asker() -> str:
    """The function of mmdyn that is at work; empty for others."""
    place = sys._getframe(2)
    while place is not None:
        path = Path(place.f_code.co_filename)
        if "mmdyn" in path.parts[:-1] and "tests" not in path.parts:
            if path.parts[-2:] == _LATER.parts:
                return ""
            return f"{path.parent.name}/{path.name}:{place.f_code.co_name}"
        place = place.f_back
    return ""


class _Operators(TorchDispatchMode):
    def __init__(self, found: Counter) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        masked = any(i is not None and i.dtype == torch.bool for i in indices)
        if (name in _OPERATORS or masked) and (asker := _asker()):
            self.found[f"{asker} {name}"] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def watched(monkeypatch):
    """Yields a counter of who waits."""
    found: Counter = Counter()

    def noting(name, original):
        def call(*args, **kwargs):
            if asker := _asker():
                found[f"{asker} {name}"] += 1
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for name in _METHODS:
            patch.setattr(Tensor, name, noting(name, getattr(Tensor, name)))
        for name in _FUNCTIONS:
            patch.setattr(torch, name, noting(name, getattr(torch, name)))
        with _Operators(found):
            yield found
