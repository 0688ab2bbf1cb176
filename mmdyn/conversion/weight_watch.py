"""Notices between two frames that a network changed: copied blocks would show the old one."""

from __future__ import annotations

from itertools import chain
from operator import attrgetter, is_

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

_version = attrgetter("_version")


class WeightWatch:
    """Looks at which modules, parameters and buffers there are, and at their versions and places.

    What a forward writes into its own buffers is no change: those are compared with what
    `frame_ended` saw. Writes into ``.data`` that leave version and place as they were are not seen
    here.
    """

    def __init__(self) -> None:
        self._parts: tuple[_Marks, _Marks, _Marks] | None = None

    def __deepcopy__(self, memo) -> WeightWatch:
        return WeightWatch()

    def __reduce__(self):
        return WeightWatch, ()

    def changed(self, model: nn.Module) -> bool:
        """Whether anything changed since the last frame; False at the first."""
        if self._parts is None:
            self._parts = _parts(model)
            return False
        same = [marks.renew() for marks in self._parts]  # of each, whatever the others say
        if not same[0]:
            self._parts = _parts(model)
        return not all(same)

    def frame_ended(self) -> None:
        """A frame ran: what its forward wrote into buffers is its own."""
        if self._parts is not None:
            self._parts[2].renew()

    def forget(self) -> None:
        """Looks for everything anew at the next call, which will tell of no change."""
        self._parts = None


class _Marks:
    """What some dictionaries of modules hold, as it was when last looked at."""

    def __init__(self, dicts: list[dict], tensors: bool = True) -> None:
        self.dicts = dicts
        self.tensors = tensors
        self._held: list = []
        self._watched: list[Tensor] = []
        self._versions: list[int] = []
        self._places: list[int] = []
        self.renew()

    def renew(self) -> bool:
        """Looks again; whether all is as it was."""
        held = list(chain.from_iterable(map(dict.values, self.dicts)))
        same = len(held) == len(self._held) and all(map(is_, held, self._held))
        if not same:
            self._held = held
            self._watched = [t for t in held if t is not None and self.tensors]
        versions = _versions(self._watched)
        places = list(map(Tensor.data_ptr, self._watched))
        same = same and versions == self._versions and places == self._places
        self._versions, self._places = versions, places
        return same


def _versions(tensors: list[Tensor]) -> list[int]:
    try:
        return list(map(_version, tensors))
    except RuntimeError:  # inference tensors have none
        return [0 if t.is_inference() else t._version for t in tensors]


def _parts(model: nn.Module) -> tuple[_Marks, _Marks, _Marks]:
    """Children; parameters and what norms normalise with; all other buffers."""
    modules = list(model.modules())
    norms = [m for m in modules if isinstance(m, _NormBase)]
    others = [m for m in modules if not isinstance(m, _NormBase)]
    weights = [*(m._parameters for m in modules), *(m._buffers for m in norms)]
    children = _Marks([m._modules for m in modules], tensors=False)
    return children, _Marks(weights), _Marks([m._buffers for m in others])
