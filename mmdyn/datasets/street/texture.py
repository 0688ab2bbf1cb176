"""Patterns that stay clean at any distance: each is averaged over its pixel's width."""

from __future__ import annotations

import cv2
import numpy as np


def box(x: np.ndarray, low, high, width: np.ndarray) -> np.ndarray:
    """Share of the interval ``x`` +- ``width``/2 that lies in [low, high]."""
    covered = np.minimum(x + width / 2, high) - np.maximum(x - width / 2, low)
    return np.clip(covered / width, 0.0, 1.0)


def pulse(x: np.ndarray, period: float, low: float, high: float, width: np.ndarray) -> np.ndarray:
    """Share of ``x`` +- ``width``/2 inside the stripes [low, high] repeated every ``period``."""

    def covered_up_to(t):
        cycle = np.floor(t / period)
        return cycle * (high - low) + np.clip(t - cycle * period - low, 0.0, high - low)

    return (covered_up_to(x + width / 2) - covered_up_to(x - width / 2)) / width


def smooth(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, an S between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def mix(first, second, share: np.ndarray) -> np.ndarray:
    """``first`` where ``share`` (h, w) is 0, ``second`` where 1; colours (3,) or (h, w, 3)."""
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return first + (second - first) * share[..., None].astype(np.float32)


def hashed(*keys: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each tuple of integers; the same tuple gives the same number."""
    state = np.uint32(2166136261)
    for key in keys:
        key = np.asarray(key).astype(np.int64).astype(np.uint32)
        state = (state ^ key) * np.uint32(16777619)
        state = state ^ (state >> np.uint32(13))
    state = state * np.uint32(2246822519)
    return ((state ^ (state >> np.uint32(15))) >> np.uint32(8)).astype(np.float32) / 2**24


class Noise:
    """Cloud-like noise in [-1, 1] that repeats every ``tile`` units.

    Args:
        rng (np.random.Generator): Where the noise comes from.
        octaves (int): Halvings of the scale that are summed.
        side (int): Samples across one tile.
    """

    def __init__(self, rng: np.random.Generator, octaves: int = 5, side: int = 256) -> None:
        total = np.zeros((side, side), np.float32)
        for octave in range(octaves):
            cells = 4 * 2**octave
            coarse = rng.standard_normal((cells, cells)).astype(np.float32)
            wrapped = np.pad(coarse, 2, mode="wrap")
            step = side // cells
            fine = cv2.resize(wrapped, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
            total += fine[2 * step : 2 * step + side, 2 * step : 2 * step + side] * 0.6**octave
        self._samples = np.clip(total / (2.2 * total.std()), -1, 1)

    def at(self, x: np.ndarray, y: np.ndarray, tile: float) -> np.ndarray:
        """Noise at (x, y), both (h, w), of a pattern that repeats every ``tile`` units."""
        side = self._samples.shape[0]
        x = ((x / tile) % 1.0 * side).astype(np.float32)
        y = ((y / tile) % 1.0 * side).astype(np.float32)
        return cv2.remap(self._samples, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
