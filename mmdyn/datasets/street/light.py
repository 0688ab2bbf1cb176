"""Sun, shade and haze."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mmdyn.datasets.street.texture import mix

SHADE = np.array([0.60, 0.63, 0.69], np.float32)  # what is left of a colour out of the sun


@dataclass(frozen=True)
class Light:
    """The light of one clip.

    Args:
        sun (tuple): Unit vector towards the sun (x right, y up, z ahead).
        haze_colour (tuple): RGB of the air at the horizon.
        haze_distance (float): Metres at which 63 % of a colour is haze.
    """

    sun: tuple[float, float, float]
    haze_colour: tuple[float, float, float] = (205, 215, 226)
    haze_distance: float = 320.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Light:
        """A sun 35 to 55 degrees high, to one side and rather behind the camera than ahead."""
        height = np.radians(rng.uniform(35, 55))
        side = rng.choice([-1, 1])
        around = np.radians(rng.uniform(100, 150))  # from straight ahead
        flat = np.cos(height)
        sun = (side * np.sin(around) * flat, np.sin(height), np.cos(around) * flat)
        return cls(sun=tuple(float(x) for x in sun), haze_distance=float(rng.uniform(220, 420)))

    def facing(self, normal) -> float:
        """Brightness in [0.55, 1.15] of a surface with this normal."""
        normal = np.asarray(normal, float)
        lit = max(0.0, float(normal @ self.sun) / (np.linalg.norm(normal) + 1e-9))
        return 0.58 + 0.14 * max(0.0, float(normal[1])) + 0.5 * lit

    def haze(self, colour, depth):
        """A colour ((3,) or (h, w, 3)) seen through ``depth`` metres of air (scalar or (h, w))."""
        if np.ndim(depth) == 0:
            share = 1 - math.exp(-depth / self.haze_distance)
            colour = np.asarray(colour, np.float32)
            return colour + (np.array(self.haze_colour, np.float32) - colour) * np.float32(share)
        share = 1 - np.exp(-np.asarray(depth, np.float32) / self.haze_distance)
        return mix(colour, self.haze_colour, share)

    def shadow_of(self, height: float) -> tuple[float, float]:
        """Where on the road (x, z in metres) the shadow of a point this high falls."""
        x, y, z = self.sun
        return -x / y * height, -z / y * height
