"""Whether blocks pay: measured on the clock, so that a converted network is never slow for long.

A frame on blocks is compared with what the stock network takes. Going over to the stock network is
not free: it fills no memory, so that going back costs one frame with all blocks executed. The
switch is made once the time lost since blocks were last ahead exceeds that price, and back by the
same rule; one slow frame changes nothing, and no more is lost than the price and what switching
costs. What is known of blocks gets old while the stock network runs: now and then they are tried
again, less and less often as they go on losing.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections import deque
from collections.abc import Callable

from mmdyn.conversion.timings import TimesFile

logger = logging.getLogger(__name__)

_WARM_UP = 8  # frames of a geometry until its modules are recorded and its weights packed
_SAMPLES = 3  # of one share, until its time counts
_KEPT = 5
_MARGIN = 1.03  # blocks may take this much longer than the stock network
_FIRST_TRIAL, _LAST_TRIAL = 256, 8192  # stock frames until blocks are tried again; doubled each


class BreakEven:
    """Times of one frame size: the stock network's, and a frame on blocks by its share executed.

    Args:
        dense_ms: The stock network's, where they are known; else the first `measure` gets them.
        block_ms: Pairs of share and milliseconds, where they are known.

    Attributes:
        is_dense: Whether the stock network runs.
        on_trial: Whether blocks, once found to lose, run to be timed again.
        is_timed: Whether the stock network was timed in this process; until then nothing is
            decided.
    """

    def __init__(self, dense_ms: list[float] = (), block_ms: list = ()) -> None:  # type: ignore
        self.dense_ms: deque[float] = deque(dense_ms, _KEPT)
        self.block_ms: dict[float, deque[float]] = {}
        self.frames = 0
        self.is_dense = self.on_trial = False
        self.is_timed = True
        self._lost = 0.0  # ms, since the present way was last ahead of the other
        self._wait, self._waited = _FIRST_TRIAL, 0  # stock frames until the next trial
        for share, ms in block_ms:
            self.block_ms[share] = deque([ms] * _SAMPLES, _KEPT)

    @property
    def dense(self) -> float | None:
        """Milliseconds of the stock network."""
        return statistics.median(self.dense_ms) if self.dense_ms else None

    def points(self) -> list[tuple[float, float]]:
        """Shares and milliseconds that are known well enough."""
        known = self.block_ms.items()
        return sorted((s, statistics.median(ms)) for s, ms in known if len(ms) >= _SAMPLES)

    def blocks(self, share: float) -> float | None:
        """Milliseconds of a frame on blocks with a share of them executed.

        Between two known shares a straight line; beyond them the stock network's time a share.
        """
        points, dense = self.points(), self.dense
        if not points or dense is None:
            return None
        below = [p for p in points if p[0] <= share]
        above = [p for p in points if p[0] >= share]
        if below and above:
            (s0, t0), (s1, t1) = below[-1], above[0]
            return t0 if s0 == s1 else t0 + (t1 - t0) * (share - s0) / (s1 - s0)
        s0, t0 = below[-1] if below else above[0]
        return max(t0 + dense * (share - s0), 0.0)

    def ran_on_blocks(self, share: float, ms: float) -> bool:
        """Books a frame on blocks; whether the next one should be the stock network's."""
        share = round(share, 2)
        self.frames += 1
        if self.frames <= _WARM_UP:
            return False
        self.block_ms.setdefault(share, deque(maxlen=_KEPT)).append(ms)
        expected, dense = self.blocks(share), self.dense
        if expected is None or dense is None or not self.is_timed:
            return False
        lost = expected - _MARGIN * dense
        if self.on_trial:  # the new times decide at once, they have cost enough
            self.on_trial, self.is_dense = False, lost > 0
            self._wait = self._wait if lost > 0 else _FIRST_TRIAL
            return self.is_dense
        return self._switches(lost, to_dense=True)

    def ran_dense(self, share: float, ms: float) -> bool:
        """Books a frame of the stock network; whether the next should run on blocks.

        Args:
            share: What the budget would have executed.
            ms: Its time.
        """
        self.dense_ms.append(ms)
        self._waited += 1
        if self._waited >= self._wait:
            self._try_blocks()
            return True
        expected, dense = self.blocks(share), self.dense
        if expected is None or dense is None:
            return False
        return self._switches(dense - _MARGIN * expected, to_dense=False)

    def _try_blocks(self) -> None:
        self.is_dense, self.on_trial, self._lost = False, True, 0.0
        self._wait, self._waited = min(2 * self._wait, _LAST_TRIAL), 0
        self.block_ms.clear()

    def _switches(self, lost: float, to_dense: bool) -> bool:
        price = self.blocks(1.0)
        assert price is not None
        self._lost = max(self._lost + lost, 0.0)
        if self._lost <= price:
            return False
        self._lost, self.is_dense, self._waited = 0.0, to_dense, 0
        return True


class BreakEvenTable:
    """One `BreakEven` for each frame size; in a file, if there is a path.

    Args:
        name: Of the network, in messages.
        path: A JSON file, read where it exists, written as more gets known.
        clock: Seconds.

    Attributes:
        network: Tells networks apart in the file (`network_key`).

    Raises:
        ValueError: If the file cannot be written, or holds something else.
    """

    def __init__(
        self, name: str, path: str | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.name, self.network, self.clock = name, name, clock
        self._sizes: dict[str, BreakEven] = {}
        self._known: dict[str, int] = {}  # shares that were known when a size was last saved
        self._file = TimesFile(path, "dense_fallback", _numbers)

    def of(self, geometry: tuple) -> BreakEven:
        """The times of a geometry: an image's size, block size and type, and what computes."""
        key = ", ".join(map(str, (self.network, *geometry)))
        if key not in self._sizes:
            self._sizes[key] = times = BreakEven(**(self._file.get(key) or {}))
            times.is_timed = False
        return self._sizes[key]

    def ms_of(self, call: Callable[[], object]) -> float:
        """How long a call takes."""
        started = self.clock()
        call()
        return (self.clock() - started) * 1e3

    def measure(self, times: BreakEven, dense: Callable[[], object]) -> None:
        """Times the stock network once in a process: a run to warm up, two that count.

        What a file said of it does not count any more.
        """
        if not times.is_timed:
            dense()
            measured = [self.ms_of(dense) for _ in range(2)]
            times.dense_ms.clear()
            times.dense_ms.extend(measured)
            times.is_timed = True

    def tell(
        self, times: BreakEven, size: tuple[int, int], share: float, switched: bool = True
    ) -> None:
        """Says which way is faster for frames of a size, and what follows."""
        self.save()
        if times.on_trial:
            logger.info("%s at %dx%d: blocks are timed again", self.name, *size)
            return
        way = "the stock network runs" if times.is_dense else "blocks are executed"
        follows = f"{way} from here on (dense_fallback=False always executes blocks)"
        if not switched:
            follows = (
                "blocks do not pay here; larger images or networks gain, and with "
                "dense_fallback=True the stock network takes such frames"
            )
        logger.warning(
            "%s at %dx%d: %.1f ms a frame with %.0f%% of the blocks executed, %.1f ms without "
            "blocks: %s", self.name, *size, times.blocks(share), 100 * share, times.dense, follows,
        )  # fmt: skip

    def note(self, times: BreakEven) -> None:
        """Saves when the stock network's time and a first share are known, and again whenever
        twice as many shares are."""
        if self._file.path is None or times.dense is None:
            return
        for key, one in self._sizes.items():
            if one is times and len(times.points()) > 2 * self._known.get(key, 0):
                self.save()

    def save(self) -> None:
        """Writes the file, if there is one to write."""
        known = {key: times for key, times in self._sizes.items() if times.points()}
        self._known = {key: len(times.points()) for key, times in known.items()}
        self._file.update({
            key: dict(dense_ms=list(times.dense_ms), block_ms=times.points())
            for key, times in known.items()
        })  # fmt: skip


def _numbers(entry: dict) -> list[float]:
    """What an entry of the file holds; see `TimesFile`."""
    return [*BreakEven(**entry).dense_ms, *(x for pair in entry["block_ms"] for x in pair)]
