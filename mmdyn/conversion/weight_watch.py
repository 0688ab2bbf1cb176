"""Notices between two frames that a network's weights changed: copied blocks would show the old."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class WeightWatch:
    """Looks at autograd's version counters and at where parameters and norms' statistics lie.

    Writes into ``.data`` that leave both as they were are not seen here.
    """

    def __init__(self) -> None:
        self._tensors: list[Tensor] | None = None
        self._marks: list[int] = []

    def __deepcopy__(self, memo) -> WeightWatch:
        return WeightWatch()

    def __reduce__(self):
        return WeightWatch, ()

    def changed(self, model: nn.Module) -> bool:
        """Whether anything changed since the last call; False at the first."""
        first = self._tensors is None
        if self._tensors is None:
            self._tensors = _watched(model)
        marks = [mark for t in self._tensors for mark in (_version(t), t.data_ptr())]
        same, self._marks = marks == self._marks, marks
        return not first and not same

    def forget(self) -> None:
        """Looks for the tensors anew at the next call, which will tell of no change."""
        self._tensors = None


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _watched(model: nn.Module) -> list[Tensor]:
    norms = [m for m in model.modules() if isinstance(m, _NormBase)]
    statistics = [t for m in norms for t in (m.running_mean, m.running_var) if t is not None]
    return [*model.parameters(), *statistics]
