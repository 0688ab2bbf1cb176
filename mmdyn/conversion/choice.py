"""Sparse or dense: what a gated block is timed at, and where one overtakes the other."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

# Shares of open tiles at which sparse is timed; between them it is taken for a straight line.
_TIMED = (0.25, 0.75)


class Choice:
    """Whether a block runs sparse: timed once at a size, then told by the share it executes.

    Attributes:
        break_even: Share of open tiles below which sparse is faster, by size.
        dense_ms: What the dense block takes, by size.
    """

    def __init__(self) -> None:
        self.break_even: dict[tuple, float] = {}
        self.dense_ms: dict[tuple, float] = {}
        self._warm: set[tuple] = set()

    def wanted(self, x: Tensor, share: float) -> str:
        """'sparse', 'dense', or 'both' while that is not known at this size."""
        size = self._size(x)
        if size not in self.break_even:
            return "both"
        return "sparse" if share < self.break_even[size] else "dense"

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
        points = []
        for wanted in _TIMED:
            tiles = best_tiles(logits, wanted)
            started = _now(x)
            sparse(tiles)
            points.append((float(tiles.float().mean()), _now(x) - started))
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
            even = 2.0 if min(low_s, high_s) < dense_s else 0.0
        self.break_even[size] = max(even, 0.0)
        self.dense_ms[size] = dense_s * 1e3

    @staticmethod
    def _size(x: Tensor) -> tuple:
        """Sizes within a factor of two share their timing."""
        return x.shape[0], (x.shape[2] * x.shape[3]).bit_length(), x.dtype


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
