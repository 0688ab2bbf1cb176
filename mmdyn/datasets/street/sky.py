"""The sky with its clouds, and what stands at the end of the street."""

from __future__ import annotations

import numpy as np

from mmdyn.datasets.street.canvas import Canvas
from mmdyn.datasets.street.geometry import Camera
from mmdyn.datasets.street.labels import BUILDING, SKY, VEGETATION
from mmdyn.datasets.street.light import Light
from mmdyn.datasets.street.texture import Noise, box, mix, smooth


class Sky:
    """Blue above, hazy below, clouds on a plane that drifts.

    Args:
        rng (np.random.Generator): Decides the cover of clouds and their drift.
        noise (Noise): The clouds' texture.
    """

    def __init__(self, rng: np.random.Generator, noise: Noise) -> None:
        self.noise = noise
        self.cover = rng.uniform(-0.25, 0.35)
        self.drift = rng.uniform(-0.03, 0.03, 2)
        self.zenith = np.array([78, 128, 196]) + rng.uniform(-14, 14, 3)
        self.offset = rng.uniform(0, 8, 2)

    def paint(self, canvas: Canvas, camera: Camera, light: Light, seconds: float) -> None:
        """Paints the whole image; everything else comes on top."""
        height, width = canvas.size
        region = (slice(0, height), slice(0, width))
        x, y, z = camera.rays(region)
        rise = np.clip(y / np.sqrt(x * x + z * z), 0.0, 1.5)
        colour = mix(light.haze_colour, self.zenith, smooth(rise, 0.0, 0.55))
        glow = np.clip((x * light.sun[0] + z * light.sun[2]) * (1 - rise), 0, 1)
        colour = mix(colour, (255, 246, 226), 0.35 * glow)
        over = 1.0 / np.maximum(rise, 0.03)
        u = x / np.abs(z).clip(0.2) * over + self.offset[0] + self.drift[0] * seconds
        v = over + self.offset[1] + self.drift[1] * seconds
        clouds = self.noise.at(u, v, 9.0) + 0.35 * self.noise.at(u * 1.7, v * 1.7, 4.1)
        density = smooth(clouds, self.cover, self.cover + 0.75) * smooth(rise, 0.02, 0.16)
        under = self.noise.at(u + 0.08 * light.sun[0], v + 0.1, 9.0)
        cloud = mix((252, 252, 250), (176, 186, 200), smooth(under - clouds * 0.4, 0.0, 0.7))
        canvas.paint(region, np.ones((height, width), np.float32), mix(colour, cloud, density), SKY)


class Backdrop:
    """Far trees and roofs in the haze, as a skyline over the compass.

    Args:
        rng (np.random.Generator): Draws the skyline.
        noise (Noise): Its outline and its leaves.
    """

    def __init__(self, rng: np.random.Generator, noise: Noise) -> None:
        self.noise = noise
        self.offset = float(rng.uniform(0, 10))
        self.roofs = [
            rng.uniform((-0.75, 0.025, 0.05, 0.85), (0.75, 0.07, 0.11, 1.15)).tolist()
            for _ in range(9)
        ]

    def paint(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Paints between the horizon and the skyline."""
        height, width = canvas.size
        region = (slice(0, height), slice(0, width))
        x, y, z = camera.rays(region)
        flat = np.sqrt(x * x + z * z)
        azimuth, rise = np.arctan2(x, z), y / flat
        soft = 1.0 / camera.focal
        for centre, half, top, shade in self.roofs:
            inside = box(azimuth, centre - half, centre + half, soft) * box(rise, -1, top, soft)
            colour = light.haze(np.array([150, 138, 130]) * shade, 330.0)
            canvas.paint(region, inside, colour, BUILDING)
        line = self.noise.at(azimuth + self.offset, np.zeros_like(azimuth), 1.3)
        fuzz = self.noise.at(azimuth + self.offset, rise, 0.11)
        top = 0.040 + 0.016 * line + 0.008 * fuzz
        leaves = np.clip((top - rise) / soft + 0.5, 0, 1)
        green = mix((74, 96, 62), (112, 130, 84), smooth(fuzz, -0.6, 0.8))
        canvas.paint(region, leaves, light.haze(green, 210.0), VEGETATION)
