"""Sparse or dense: what a gated block is timed at, and where one overtakes the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from os import PathLike

import torch
from torch import Tensor

from mmdyn.conversion.timings import TimesFile, machine_key

logger = logging.getLogger(__name__)

# Shares of open tiles at which sparse is timed; between them it is taken for a straight line.
_TIMED = (0.25, 0.75)
_ALWAYS = 2.0  # a share that no frame reaches


class Choice:
    """Whether a block runs sparse: timed once at a size, then told by the share it executes.

    Args:
        table: What the blocks of its network share.
        path: Of the block.

    Attributes:
        break_even: Share of open tiles below which sparse is faster, by size.
        dense_ms: What the dense block takes, by size.
    """

    def __init__(self, table: ChoiceTable | None = None, path: str = "") -> None:
        self.table, self.path = table or ChoiceTable(), path
        self.break_even: dict[tuple, float] = {}
        self.dense_ms: dict[tuple, float] = {}
        self._warm: set[tuple] = set()
        self.table.choices.append(self)

    def wanted(self, x: Tensor, share: float) -> str:
        """'sparse', 'dense', or 'both' while that is not known at this size."""
        size = self._size(x)
        if size not in self.break_even and not self._is_in_file(x, size):
            return "both"
        return "sparse" if share < self.break_even[size] else "dense"

    def _is_in_file(self, x: Tensor, size: tuple) -> bool:
        """Whether another run timed the block; not asked once this one began to."""
        known = None if size in self._warm else self.table.known(self._key(x))
        if known is None:
            return False
        self.break_even[size], self.dense_ms[size] = known["break_even"], known["dense_ms"]
        return True

    def measure(
        self,
        x: Tensor,
        logits: Tensor,
        dense: Callable[[], Tensor],
        sparse: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Times a block both ways; the first call of a size only warms them up.

        Args:
            x: The block's input.
            logits: Of its gate; the best tiles are the ones that are timed.
            dense: Runs it dense.
            sparse: Runs it sparse with a mask of tiles.

        Returns:
            What `dense` returns.
        """
        started = _now(x)
        out = dense()
        dense_s = _now(x) - started
        points: list[tuple[float, float]] = []
        for wanted in _TIMED:
            tiles = best_tiles(logits, wanted)
            started = _now(x)
            sparse(tiles)
            points.append((float(tiles.float().mean()), _now(x) - started))
        self.table.spend(1e3 * sum(took for _, took in points))
        self.learn(x, dense_s, points)
        return out

    def learn(self, x: Tensor, dense_s: float, points: list[tuple[float, float]]) -> None:
        """Takes what dense took, and the shares and times of two sparse runs."""
        size = self._size(x)
        if size not in self._warm:
            self._warm.add(size)
            return
        (low, low_s), (high, high_s) = points
        slope = (high_s - low_s) / (high - low) if high > low else 0.0
        if slope > 0:
            even = low + (dense_s - low_s) / slope
        else:  # the share makes no difference
            even = _ALWAYS if min(low_s, high_s) < dense_s else 0.0
        self.break_even[size] = min(max(even, 0.0), _ALWAYS)
        self.dense_ms[size] = dense_s * 1e3
        self.table.learnt(self._key(x), self.break_even[size], self.dense_ms[size])

    @staticmethod
    def _size(x: Tensor) -> tuple:
        """Sizes within a factor of two share their timing, on one device and number of threads.

        So do numbers of images: RoIs are another number in every image.
        """
        pixels = (x.shape[2] * x.shape[3]).bit_length()
        return x.shape[0].bit_length(), pixels, x.dtype, x.device, torch.get_num_threads()

    def _key(self, x: Tensor) -> str:
        """What the timing is of, in a file."""
        images, pixels, dtype = self._size(x)[:3]
        size = f"2^{images} images x 2^{pixels} pixels"
        return ", ".join([self.table.network, self.path, size, str(dtype), machine_key(x.device)])


class ChoiceTable:
    """What the blocks of a network are timed at: in a file, if there is a path, and in the log.

    Args:
        path: A JSON file, read where it exists, written when a call has timed blocks.

    Attributes:
        network: Tells networks apart in the file.
        choices: One for each block.
        tuning_ms: What timing took since somebody set it to 0, besides the dense blocks that had
            to run.

    Raises:
        ValueError: If the file cannot be written, or holds something else.
    """

    def __init__(self, path: str | PathLike | None = None) -> None:
        self.network, self.tuning_ms = "the network", 0.0
        self.choices: list[Choice] = []
        self._file = TimesFile(path, "timings", lambda e: (e["break_even"], e["dense_ms"]))
        self._fresh: dict[str, dict] = {}
        self._all_ms, self._told = 0.0, False

    def spend(self, ms: float) -> None:
        """Books what timing a block took."""
        self.tuning_ms += ms
        self._all_ms += ms

    def known(self, key: str) -> dict | None:
        """What the file says of a block."""
        return self._file.get(key)

    def learnt(self, key: str, break_even: float, dense_ms: float) -> None:
        """Takes what was found out about a block."""
        self._fresh[key] = dict(break_even=break_even, dense_ms=dense_ms)

    def call_ended(self) -> None:
        """Saves what a call of the network timed; logs once how blocks run, when all are known."""
        if self._fresh:
            self._file.update(self._fresh)
            self._fresh = {}
        if self._told or not all(choice.break_even for choice in self.choices):
            return
        self._told = True
        lines = []
        for choice in self.choices:
            even, ms = (list(d.values())[-1] for d in (choice.break_even, choice.dense_ms))
            lines.append(
                f"  {choice.path}: sparse below {min(even, 1.0):.0%} open, dense {ms:.2f} ms"
            )
        logger.info(
            "blocks were timed%s, each runs as is faster:\n%s",
            f" in {self._all_ms:.0f} ms" if self._all_ms else " in another run",
            "\n".join(lines),
        )


def best_tiles(logits: Tensor, share: float) -> Tensor:
    """Mask of the share of all tiles with the highest logits, at least one of them."""
    flat = logits.flatten()
    count = min(max(round(share * flat.numel()), 1), flat.numel())
    tiles = torch.zeros_like(flat, dtype=torch.bool)
    tiles[flat.topk(count).indices] = True
    return tiles.view_as(logits)


def _now(x: Tensor) -> float:
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter()
