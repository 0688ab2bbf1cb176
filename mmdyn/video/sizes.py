"""Cameras of several frame sizes on one network: streams and memory of each size."""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Hashable

from mmdyn.video.memory import FeatureMemory
from mmdyn.video.streams import StreamTable

logger = logging.getLogger(__name__)

_MOST = 4  # sizes whose memory is kept at once
_LOOK_BACK = 8  # sizes that are known again


class StreamsBySize:
    """The streams and the memory of the size at hand; those of other sizes wait.

    Memory is large, so a size's is given back when the size changes, until one returns: from then
    on the four sizes used last keep theirs.

    Args:
        max_streams: See ``StreamTable``.
    """

    def __init__(self, max_streams: int) -> None:
        self.streams, self.memory = StreamTable(max_streams), FeatureMemory()
        self._size: Hashable = None
        self._waiting: OrderedDict[Hashable, tuple[StreamTable, FeatureMemory]] = OrderedDict()
        self._seen: deque[Hashable] = deque(maxlen=_LOOK_BACK)
        self._interleaved = False
        self._size_of: OrderedDict[Hashable, Hashable] = OrderedDict()

    def turn_to(self, size: Hashable) -> None:
        """Makes a size (and whatever else memory depends on) the one at hand."""
        if size == self._size:
            return
        if self._size is not None:
            logger.info("frame size changed from %s to %s", self._size, size)
            self._interleaved |= size in self._seen
            if self._interleaved:
                self._waiting[self._size] = self.streams, self.memory
                while len(self._waiting) >= _MOST:
                    self._waiting.popitem(last=False)
            if size not in self._seen:
                self._seen.append(size)
            fresh = StreamTable(self.streams.max_streams), FeatureMemory()
            self.streams, self.memory = self._waiting.pop(size, fresh)
        else:
            self._seen.append(size)
        self._size = size

    def returns(self, stream: Hashable) -> bool:
        """Whether a stream's last frame was of another size; takes note of this one."""
        last = self._size_of.pop(stream, self._size)
        self._size_of[stream] = self._size
        while len(self._size_of) > 16 * self.streams.max_streams:
            self._size_of.popitem(last=False)
        return last != self._size

    def drop(self, stream: Hashable | None = None) -> None:
        """Forgets one stream, or all and their memory.

        Raises:
            KeyError: If nobody knows the stream.
        """
        if stream is None:
            self.streams.drop()
            self.memory.clear()
            self._waiting.clear()
            return
        waiting = [table for table, _ in self._waiting.values() if stream in table.states]
        for table in waiting:
            table.drop(stream)
        if not waiting or stream in self.streams.states:
            self.streams.drop(stream)
