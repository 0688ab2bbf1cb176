"""A pinhole camera in a street: metres in (x right, y up, z along the street), pixels out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

NEAR = 0.3  # metres: nothing closer than this to the camera's plane is drawn


@dataclass(frozen=True)
class Camera:
    """A camera that looks along +z.

    Args:
        width (int): Image width in pixels.
        height (int): Image height in pixels.
        position (tuple): x, y, z in metres; y is the height above the road.
        yaw (float): Radians, positive turns to the right. Default 0.
        pitch (float): Radians, positive looks down. Default 0.
        focal_widths (float): Focal length in image widths. Default 0.95.
    """

    width: int
    height: int
    position: tuple[float, float, float]
    yaw: float = 0.0
    pitch: float = 0.0
    focal_widths: float = 0.95

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return self.focal_widths * self.width

    @cached_property
    def rotation(self) -> np.ndarray:
        """(3, 3): rows are the camera's right, up and forward axes in the street's coordinates."""
        cos_yaw, sin_yaw = np.cos(self.yaw), np.sin(self.yaw)
        cos_pitch, sin_pitch = np.cos(self.pitch), np.sin(self.pitch)
        forward = (sin_yaw * cos_pitch, -sin_pitch, cos_yaw * cos_pitch)
        right = (cos_yaw, 0.0, -sin_yaw)
        return np.array([right, np.cross(forward, right), forward])

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Street points (K, 3) in the camera's axes; the last column is the depth."""
        return (np.asarray(points, dtype=float) - self.position) @ self.rotation.T

    def depth(self, point: tuple[float, float, float] | np.ndarray) -> float:
        """Depth in metres of one street point."""
        return float((np.asarray(point, dtype=float) - self.position) @ self.rotation[2])

    def to_pixels(self, seen: np.ndarray) -> np.ndarray:
        """Camera points (K, 3) to pixels (K, 2); (0, 0) is the image's corner."""
        pixels = seen[:, :2] * (self.focal / seen[:, 2:])
        return pixels * (1, -1) + (self.width / 2, self.height / 2)

    def polygon(self, points: np.ndarray) -> np.ndarray | None:
        """Street polygon (K, 3) to pixels (M, 2), cut at the near plane; None if behind."""
        seen = self.to_camera(points)
        ahead = seen[:, 2] >= NEAR
        if not ahead.any():
            return None
        return self.to_pixels(seen if ahead.all() else _clip_near(seen))

    def rays(self, region: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Directions x, y, z (each (h, w) float32) through the pixel centres of (rows, columns).

        A ray's length is such that its depth is one metre.
        """
        rows, columns = region
        right = (np.arange(columns.start, columns.stop) + 0.5 - self.width / 2) / self.focal
        up = (self.height / 2 - np.arange(rows.start, rows.stop) - 0.5) / self.focal
        axes = self.rotation
        return tuple(
            (axes[0, i] * right[None] + axes[1, i] * up[:, None] + axes[2, i]).astype(np.float32)
            for i in range(3)
        )


def _clip_near(seen: np.ndarray) -> np.ndarray:
    """The part of a camera-space polygon (K, 3) in front of the near plane."""
    kept = []
    for here, there in zip(seen, np.roll(seen, -1, axis=0), strict=True):
        inside, next_inside = here[2] >= NEAR, there[2] >= NEAR
        if inside:
            kept.append(here)
        if inside != next_inside:
            kept.append(here + (there - here) * ((NEAR - here[2]) / (there[2] - here[2])))
    return np.array(kept)


_ARC = np.linspace(np.pi / 2, 3 * np.pi / 2, 7)
_BACK = np.stack([np.cos(_ARC), np.sin(_ARC)], axis=1)


def capsule(start: np.ndarray, end: np.ndarray, radius: float, end_radius: float | None = None):
    """Outline (K, 2) of a limb between two pixels, with round ends of the given radii in pixels."""
    end_radius = radius if end_radius is None else end_radius
    x, y = end - start
    length = math.hypot(x, y)
    x, y = (x / length, y / length) if length > 1e-9 else (1.0, 0.0)
    cap = _BACK @ np.array([[x, y], [-y, x]])
    return np.concatenate([start + radius * cap, end - end_radius * cap])


def turn_about_y(points: np.ndarray, heading: float) -> np.ndarray:
    """Local points (K, 3), z ahead, turned so that they face ``heading`` (0 is +z, pi/2 is +x)."""
    cos, sin = math.cos(heading), math.sin(heading)
    turn = np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])
    return np.asarray(points, dtype=float) @ turn


def outward(polygon: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Normal (3,) of a polygon (K, 3) away from ``centre``; as long as twice its area."""
    ahead = np.concatenate([polygon[1:], polygon[:1]])
    (x, y, z), (u, v, w) = polygon.T, ahead.T
    normal = np.array([y @ w - z @ v, z @ u - x @ w, x @ v - y @ u])
    return normal if normal @ (polygon.mean(axis=0) - centre) > 0 else -normal


def circle(count: int = 18) -> np.ndarray:
    """Unit circle (count, 2)."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)
