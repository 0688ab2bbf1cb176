"""Rings that several operations of a frame read: written once, into one store."""

from __future__ import annotations

import weakref

from torch import Tensor

Packed = tuple[Tensor, Tensor | None]


class SharedRings:
    """Which maps' rings lie in which store, in one frame.

    Attributes:
        scope: What is at work and replayed as one: nothing is shared with what is outside, which
            may not run in a later frame.
    """

    def __init__(self) -> None:
        self.scope: object = None
        self._found: dict[tuple, tuple] = {}

    def find(self, packed: Packed, ring: tuple, fill: float) -> Tensor | None:
        """The store that holds the rings of these blocks as they are now, if there is one.

        Args:
            packed: Blocks and halves.
            ring: Which of their pixels, ``(positions, count)`` of a `tables.Ring`.
            fill: What lies outside the image.
        """
        found = self._found.get((id(packed[0]), ring[1], fill, id(self.scope)))
        if found is None:
            return None
        blocks, versions, positions, scope, store = found
        same = blocks() is packed[0] and versions == _versions(packed)
        return store if same and positions is ring[0] and scope is self.scope else None

    def note(self, packed: Packed, ring: tuple, fill: float, store: Tensor) -> None:
        """Remembers what was written; arguments as above. `store` must outlive the frame."""
        key = (id(packed[0]), ring[1], fill, id(self.scope))
        blocks = weakref.ref(packed[0])
        self._found[key] = (blocks, _versions(packed), ring[0], self.scope, store)


def _versions(packed: Packed) -> list[int]:
    return [level._version for level in packed if level is not None]
