"""Streams: whose frame this is, and what is known of it besides features."""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mmdyn.ops.transfer import Later
from mmdyn.video.motion import Motion, estimate_motion, grey_picture

logger = logging.getLogger(__name__)


@dataclass
class StreamState:
    """One stream between two frames.

    Attributes:
        slot: Its place in the feature memory.
        frame: Number of the last frame, where the data name one.
        frames: Frames seen since the last reset; 0 asks for a full frame.
        age: (GH, GW) int64, frames since each cell ran.
        last_grid: (GH, GW) bool, cells of the last frame.
        thumbnail: (3, h, w) small image of the pixels last executed.
        picture: (h, w) the last frame, small and grey, for the motion since.
        motion: Between the last two frames.
        due: Tells how many cells are too old to be copied in the next frame.
        since_full: Frames since all cells ran.
        task: The last output, for the policy.
        controller: Keeps the budget.
        since_start: Frames since the clip's first.
        cuts: Which of these changed the picture as a whole, the last few.
        warned_of_cuts: Whether their number was told.
    """

    slot: int
    frame: int | None = None
    frames: int = 0
    age: Tensor | None = None
    last_grid: Tensor | None = None
    thumbnail: Tensor | None = None
    picture: Tensor | None = None
    motion: Motion | None = None
    due: Later | None = None
    since_full: int = 0
    task: Any = None
    controller: Any = None
    since_start: int = 0
    cuts: deque[int] = field(default_factory=lambda: deque(maxlen=8))
    warned_of_cuts: bool = False

    def restart(self) -> None:
        """Forgets what was seen, within a clip: all cells run next, and the budget goes on."""
        self.frames = 0
        self.thumbnail = self.task = None

    def reset(self) -> None:
        """Forgets the clip: the next frame runs all cells."""
        self.restart()
        self.frame = self.age = self.last_grid = self.picture = self.motion = None
        self.since_start = 0
        self.cuts.clear()
        if self.controller is not None:
            self.controller.reset()


def move_along(states: list[StreamState], image: Tensor) -> dict[int, Motion]:
    """Finds the motion since each stream's last frame and moves along what the stream remembers.

    Args:
        states: One an image.
        image: (N, C, H, W).

    Returns:
        Motion by memory slot, of the streams that had a frame before.
    """
    found: dict[int, Motion] = {}
    size = (image.shape[2], image.shape[3])
    for state, one in zip(states, image):
        now = grey_picture(one)
        if state.frames and state.picture is not None:
            rest = None if state.motion is None else state.motion.rest
            motion = found[state.slot] = estimate_motion(
                now, state.picture, size, rest, image.device
            )
            state.motion = motion
            state.thumbnail = motion.moved(state.thumbnail)
            if state.task is not None:
                state.task = state.task.moved(motion.moved)
        state.picture = now
    return found


class StreamTable:
    """Gives every stream its state and a memory slot.

    A stream that takes the place in the batch of one that is gone (the next clip of a test set)
    inherits its slot. One that comes back after its slot was taken is interleaved with others: from
    then on slots are added, up to `max_streams`, after which the stream idle longest gives up its
    own.

    Args:
        max_streams: Slots at most.
    """

    def __init__(self, max_streams: int = 16) -> None:
        self.max_streams = max_streams
        self.states: OrderedDict[Hashable, StreamState] = OrderedDict()
        self._last_batch: list[Hashable] = []
        self._evicted: OrderedDict[Hashable, None] = OrderedDict()
        self._warned = self._told = False

    def __deepcopy__(self, memo) -> StreamTable:
        return StreamTable(self.max_streams)

    def __reduce__(self):
        return StreamTable, (self.max_streams,)

    def states_of(self, ids: list[Hashable]) -> list[StreamState]:
        """The states of a batch's streams, made or reset where they are new.

        Raises:
            ValueError: If a stream has two frames in the batch, or the batch exceeds `max_streams`.
        """
        if len(set(ids)) != len(ids):
            raise ValueError(
                f"a batch holds two frames of one stream ({ids}): frames of a clip must come one "
                "after the other; use batch size 1, or one stream an image"
            )
        if len(ids) > self.max_streams:
            raise ValueError(
                f"a batch of {len(ids)} streams, but max_streams={self.max_streams}: raise it"
            )
        states = [self._state(ids, position) for position in range(len(ids))]
        self._last_batch = list(ids)
        return states

    def _state(self, ids: list[Hashable], position: int) -> StreamState:
        stream = ids[position]
        if stream not in self.states:
            self.states[stream] = StreamState(self._free_slot(ids, position))
        self.states.move_to_end(stream)
        return self.states[stream]

    def _free_slot(self, ids: list[Hashable], position: int) -> int:
        used = {state.slot for state in self.states.values()}
        free = [slot for slot in range(self.max_streams) if slot not in used]
        gone = self._last_batch[position] if position < len(self._last_batch) else None
        back = ids[position] in self._evicted
        if not back and gone in self.states and gone not in ids:
            return self._evict(gone)
        if back and free and not self._told:
            self._told = True
            logger.warning(
                "stream '%s' comes back after another took its place: it runs a full frame, and "
                "from now on streams that take turns have memory of their own", ids[position],
            )  # fmt: skip
        if free:
            return free[0]
        idle = next(stream for stream in self.states if stream not in ids)
        if not self._warned:
            self._warned = True
            logger.warning(
                "more than max_streams=%d streams at once: '%s' lost its memory and will run a "
                "full frame, and so will others; raise max_streams", self.max_streams, idle,
            )  # fmt: skip
        return self._evict(idle)

    def _evict(self, stream: Hashable) -> int:
        self._evicted[stream] = None
        while len(self._evicted) > 4 * self.max_streams:
            self._evicted.popitem(last=False)
        return self.states.pop(stream).slot

    def drop(self, stream: Hashable | None = None) -> None:
        """Forgets one stream, or all."""
        if stream is None:
            self.states.clear()
            self._evicted.clear()
            self._last_batch = []
        elif stream in self.states:
            self.states[stream].reset()
        elif stream not in self._evicted:
            known = ", ".join(map(str, self.states)) or "none"
            raise KeyError(f"no stream '{stream}'; known: {known}")
