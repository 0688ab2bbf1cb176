"""What stands or moves in a street."""

from __future__ import annotations

import numpy as np

from mmdyn.datasets.street.canvas import Canvas
from mmdyn.datasets.street.geometry import Camera
from mmdyn.datasets.street.light import Light


class Thing:
    """One thing at one moment; ``position`` (x, y, z in metres) is its foot."""

    position: tuple[float, float, float]

    def shadow(self, light: Light) -> list[np.ndarray]:
        """Outlines (K, 3) of the shadow it casts on the ground; thin things cast none."""
        return []

    def base(self) -> list[np.ndarray]:
        """Outlines (K, 3) of the dark ground right below it."""
        return []

    def paint(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Paints it if it is in front of the camera."""
        raise NotImplementedError
