"""Folded and packed weights, kept between frames and made anew once their sources change."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mmdyn.blocks.recording import recorder, unrecorded

logger = logging.getLogger(__name__)

_SAMPLES = 16


class Kept:
    """What was made, and how its sources looked then."""

    def __init__(self, made: Any, sources: list[Tensor], forget: Callable) -> None:
        self.made = made
        self.marks = _marks(sources)
        self.sources = [weakref.ref(source, forget) for source in sources]
        self.views = [_sample(source) for source in sources]  # also keep old memory from reuse
        self.looked = [view.clone() for view in self.views]
        self.sums = [_sums(source) for source in sources]
        if not all(bool(torch.isfinite(sums).all()) for sums in self.sums):
            _tell_of_broken_weights()
        self.valid = True

    def fresh(self) -> bool:
        """Whether the sources are as they were, as far as autograd's counters tell."""
        alive = [s for s in (source() for source in self.sources) if s is not None]
        return self.valid and self.marks == _marks(alive)


class Constants:
    """What is made of weights alone; never copied or pickled with the model.

    A change is noticed by autograd's version counters and by a replaced memory (`load_state_dict`,
    an optimizer, ``.to()``). Writes that go past the counters, through ``.data`` as mmengine's
    moving averages do, are noticed once a frame by a few numbers of every source. An entry dies
    with its sources, so that weights that a network makes anew for every frame do not pile up.
    """

    def __init__(self) -> None:
        self.eager: set = set()  # places whose convolution is needed before its epilogue
        self._kept: dict[tuple, Kept] = {}
        self._samples: list[tuple[list[Tensor], Tensor]] | None = None
        self._asked = False

    def __deepcopy__(self, memo) -> Constants:
        return Constants()

    def __reduce__(self):
        return (Constants, ())

    def __len__(self) -> int:
        return len(self._kept)

    def kept(self, what: Hashable, sources: tuple, make: Callable[[], Any]) -> Any:
        """What `make` makes of `sources`: from the last time, if nothing changed since.

        Args:
            what: Tells apart different things made of the same sources.
            sources: Tensors; what is not a tensor is part of `what`.
            make: Makes it.
        """
        tensors = [s for s in sources if isinstance(s, Tensor)]
        slot = (what, *(id(s) if isinstance(s, Tensor) else s for s in sources))
        entry = self._kept.get(slot)
        if entry is None or entry.marks != _marks(tensors):
            with unrecorded():
                entry = Kept(make(), tensors, lambda _: self._drop(slot))
            self._kept[slot] = entry
            self._samples = None
        if active := recorder():
            active.note_kept(entry)
        return entry.made

    def verify(self) -> None:
        """Forgets everything if any source has changed, in whatever way; reads all of them."""
        for entry in self._kept.values():
            for source, sums in zip(entry.sources, entry.sums, strict=True):
                alive = source()
                if alive is not None and not _same(_sums(alive), sums):
                    self.forget()
                    return

    def forget(self) -> None:
        """Everything is made anew when it is next asked for."""
        for entry in self._kept.values():
            entry.valid = False
        self._kept.clear()
        self._samples = None

    def _drop(self, slot: tuple) -> None:
        if self._kept.pop(slot, None) is not None:
            self._samples = None

    def ask(self, device: torch.device) -> Tensor:
        """() bool: whether a sample of any source has changed, for the caller to look at.

        The next `begin` does not look. Sources on other devices are left to the marks.
        """
        self._asked = True
        if self._samples is None:
            self._samples = self._grouped()
        here = [(v, old) for v, old in self._samples if old.device == device]
        found = [(_bits(torch.cat(views)) != old).any() for views, old in here]
        return torch.stack(found).any() if found else torch.zeros((), dtype=torch.bool).to(device)

    def begin(self) -> None:
        """Starts a frame: forgets everything if a sample of any source has changed."""
        if self._asked:
            self._asked = False
            return
        if self._samples is None:
            self._samples = self._grouped()
        for views, looked in self._samples:
            if not torch.equal(_bits(torch.cat(views)), looked):
                self.forget()
                return

    def _grouped(self) -> list[tuple[list[Tensor], Tensor]]:
        """All samples and how they looked, by type and device."""
        groups: dict[tuple, tuple[list, list]] = {}
        for entry in self._kept.values():
            for view, looked in zip(entry.views, entry.looked, strict=True):
                views, looks = groups.setdefault((view.dtype, view.device), ([], []))
                views.append(view)
                looks.append(looked)
        return [(views, _bits(torch.cat(looks))) for views, looks in groups.values()]


def _bits(numbers: Tensor) -> Tensor:
    """The same memory as whole numbers, of which each is equal to itself."""
    whole = {1: torch.int8, 2: torch.int16, 4: torch.int32}
    return numbers.view(whole.get(numbers.element_size(), torch.int64))


def _marks(sources: list[Tensor]) -> list[tuple]:
    return [(0 if s.is_inference() else s._version, s.data_ptr(), s.dtype) for s in sources]


def _sums(source: Tensor) -> Tensor:
    """The sum of all numbers and that of their squares."""
    data = source.detach().double()
    return torch.stack([data.sum(), data.square().sum()])


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether sums are equal, not a number equal to itself."""
    return torch.equal(a.nan_to_num(nan=0.5), b.nan_to_num(nan=0.5))


@cache
def _tell_of_broken_weights() -> None:
    logger.warning(
        "weights hold NaN or infinite numbers: layers fused with their activation may make finite "
        "outputs of them where the stock network's are NaN; look at the checkpoint"
    )


def _sample(source: Tensor) -> Tensor:
    """A view of some of its numbers, spread over its memory."""
    data = source.data
    count = min(_SAMPLES, data.numel())
    dense = data.is_contiguous() or (
        data.dim() == 4 and data.is_contiguous(memory_format=torch.channels_last)
    )
    if not dense or not count:
        return data.reshape(-1)[:count].clone()  # an expanded tensor: told by its marks alone
    return data.as_strided((count,), (data.numel() // count,), data.storage_offset())
