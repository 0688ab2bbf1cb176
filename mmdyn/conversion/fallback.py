"""Frames that the stock network takes because it is faster than blocks are."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from mmdyn.blocks import BlockGrid, Frame, Level
from mmdyn.conversion.break_even import BreakEven, BreakEvenTable
from mmdyn.conversion.config import BlockCopyConfig
from mmdyn.conversion.timings import machine_key
from mmdyn.video import StreamState

if TYPE_CHECKING:
    from mmdyn.conversion.runtime import BlockCopyRuntime

logger = logging.getLogger(__name__)


class DenseFallback:
    """Watches the clock on a CPU; on other devices, or switched off, nobody does.

    The second frame of an image size runs the stock network three times beside the blocks, to time
    it, whatever a file says of it. What these runs write into buffers and attributes of modules is
    put back. Where they fail, nobody watches the clock either.

    Args:
        config: The user's choices.
        name: Of the network.
    """

    def __init__(self, config: BlockCopyConfig, name: str) -> None:
        wanted = config.dense_fallback
        self.enabled, self.switches = wanted is not False, bool(wanted)
        path = None if isinstance(wanted, (bool, type(None))) else os.fspath(wanted)
        self.table = BreakEvenTable(name, path)
        self._dense_gmacs = 0.0

    def now(self) -> float:
        """Seconds."""
        return self.table.clock()

    def _times(self, image: Tensor, block: tuple[int, int]) -> BreakEven | None:
        if not self.enabled or image.device.type != "cpu":
            return None
        geometry = tuple(image.shape), block, image.dtype
        return self.table.of((*geometry, machine_key(image.device)))

    def is_dense(self, image: Tensor, block: tuple[int, int]) -> bool:
        """Whether the stock network takes frames like this one."""
        times = self._times(image, block)
        return times is not None and times.is_dense

    def ran_on_blocks(
        self, runtime: BlockCopyRuntime, image: Tensor, block, started: float, forward: Callable,
        call: tuple[tuple, dict],
    ) -> None:  # fmt: skip
        """Books a frame on blocks; `forward` is the stock network's and `call` its arguments.

        What timing the stock network took is the frame's ``stats["tuning_ms"]``; it is no part of
        ``stats["ms"]``.
        """
        ended, stats = self.now(), runtime.stats
        stats["tuning_ms"] = 0.0
        times = self._times(image, block)
        if times is None:
            return
        ms = (ended - started) * 1e3
        self._dense_gmacs = stats["dense_gmacs"]
        if not stats["first_frame"] and not times.is_timed:
            measured = self._measure(times, forward, call)
            stats["tuning_ms"] = (self.now() - ended) * 1e3
            if not measured:
                return
        switch = times.ran_on_blocks(stats["executed_share"], ms)
        self.table.note(times)
        if switch:
            self.table.tell(times, tuple(image.shape[2:]), stats["executed_share"], self.switches)
            if not self.switches:
                self.enabled = times.is_dense = False
                return
            for state in runtime.streams.states.values():
                state.restart()
            runtime.memory.clear()  # it would not be of the frame before

    def _measure(self, times: BreakEven, forward: Callable, call: tuple[tuple, dict]) -> bool:
        """Times the stock network; False if it cannot be run beside a frame."""
        try:
            with _unmarked(getattr(forward, "__self__", None)):
                args, kwargs = tree_map(_own, call)  # the frame's results may lie in its arguments
                self.table.measure(times, lambda: forward(*args, **kwargs))
        except Exception as error:
            self.enabled = False
            logger.warning(
                "%s cannot be timed without blocks (%s: %s): whether they pay is not watched",
                self.table.name, type(error).__name__, error,
            )  # fmt: skip
        return self.enabled

    def run(
        self, runtime: BlockCopyRuntime, image: Tensor, block, states: list[StreamState],
        started: float, forward: Callable, call: tuple[tuple, dict],
    ) -> Any:  # fmt: skip
        """A frame of the stock network; arguments as above."""
        outputs = forward(*call[0], **call[1])
        times = self._times(image, block)
        assert times is not None
        ms = (self.now() - started) * 1e3
        size = image.shape[2] // block[0], image.shape[3] // block[1]
        runtime.last_frame = Frame(BlockGrid.filled(Level.FULL, image.shape[0], size, block))
        runtime.stats = dict(
            executed_share=1.0, gmacs=self._dense_gmacs, dense_gmacs=self._dense_gmacs, ms=ms,
            policy_ms=0.0, first_frame=any(state.age is None for state in states), state_mb=0.0,
            tuning_ms=0.0,
        )  # fmt: skip
        for state in states:
            state.age = torch.zeros(size, dtype=torch.int64)
        fixed = runtime.policy.fixed_share
        share = runtime.config.budget if fixed is None else fixed
        if times.ran_dense(share, ms):
            self.table.tell(times, tuple(image.shape[2:]), share)
        return outputs


def _own(value):
    """A copy of what a network may write its results into; tensors are shared."""
    return value if isinstance(value, Tensor) else copy.deepcopy(value)


@contextmanager
def _unmarked(model: object) -> Iterator[None]:
    """Puts back what buffers and attributes of modules held, and the state of chance."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    held = [(box, dict(box)) for m in modules for box in (vars(m), m._buffers)]
    buffers = [(b, b.clone()) for m in modules for b in m._buffers.values() if b is not None]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for box, before in held:
            if list(map(id, box.values())) != list(map(id, before.values())):
                box.clear()
                box.update(before)
        for buffer, before in buffers:
            if not torch.equal(buffer, before):
                buffer.copy_(before)
