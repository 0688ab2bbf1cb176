"""Trees and bushes: crowns of shaded leaves drawn once a clip, then placed at any size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mmdyn.datasets.street.canvas import Canvas
from mmdyn.datasets.street.geometry import Camera
from mmdyn.datasets.street.labels import VEGETATION
from mmdyn.datasets.street.light import Light
from mmdyn.datasets.street.thing import Thing

SPRITE_HEIGHT = 512  # pixels of a whole tree


class TreeSprite:
    """The picture of one tree (RGB with coverage), in halving sizes.

    Args:
        rng (np.random.Generator): Draws its shape.
        light (Light): Says from which side it is lit.
        trunk (float): Bare trunk as a share of the height; 0 makes a bush.
    """

    def __init__(self, rng: np.random.Generator, light: Light, trunk: float = 0.33) -> None:
        height, width = SPRITE_HEIGHT, int(SPRITE_HEIGHT * (0.8 if trunk else 1.3))
        base = np.array([86, 112, 50]) + rng.uniform((-16, -14, -12), (22, 14, 14))
        picture = np.zeros((height, width, 4), np.uint8)  # RGB and coverage
        picture[..., :3] = base * 0.6
        if trunk:
            self._trunk(rng, picture, trunk)
        self._crown(rng, light, picture, base, trunk)
        sprite = picture.astype(np.float32)
        sprite[..., :3] *= sprite[..., 3:] / 255
        self._sizes = [sprite]
        while self._sizes[-1].shape[0] > 8:
            last = self._sizes[-1]
            size = (last.shape[1] // 2, last.shape[0] // 2)
            self._sizes.append(cv2.resize(last, size, interpolation=cv2.INTER_AREA))

    def _trunk(self, rng, picture, trunk):
        height, width = picture.shape[:2]
        middle, foot = width / 2, height - 1
        fork = height * (1 - trunk) - 0.12 * height
        bark = np.array([92, 78, 62]) + rng.uniform(-12, 12)

        def fill(points, colour):
            points = np.round(points).astype(np.int32)
            cv2.fillPoly(picture, [points], (*colour.tolist(), 255), cv2.LINE_AA)

        for x, share in ((-0.13, 0.6), (0.0, 0.75), (0.14, 0.65), (0.05, 1.0)):
            top = (middle + x * width, fork - 0.12 * height)
            points = [(middle - 9, foot), (middle + 9, foot), (middle + 6 * share, fork + 60), top]
            fill([*points, (middle - 6 * share, fork + 60)], bark * (0.7 + 0.3 * share))
        fill([(middle - 7, foot), (middle - 2, foot), (middle, fork)], bark * 1.25)

    def _crown(self, rng, light, picture, base, trunk):
        height, width = picture.shape[:2]
        centre = np.array([width / 2, height * ((1 - trunk) / 2 + 0.05 if trunk else 0.6)])
        half = np.array([width * 0.34, height * ((1 - trunk) / 2 * 0.72 if trunk else 0.3)])
        sun = np.array([light.sun[0], -light.sun[1]])
        clumps = rng.normal(size=(40, 2))
        clumps /= np.linalg.norm(clumps, axis=1, keepdims=True)
        clumps *= np.sqrt(rng.uniform(0.02, 1.0, (40, 1)))
        clumps = clumps[np.argsort(clumps @ sun + rng.normal(0, 0.25, 40))]
        for clump in clumps:
            place = centre + clump * half
            size = rng.uniform(0.10, 0.16) * width
            for layer in range(3):
                leaves = rng.uniform(-1, 1, (52, 2)) * size * (0.95 - 0.1 * layer)
                leaves *= np.sqrt(rng.uniform(0.2, 1, (52, 1)))
                spots = ((leaves + place + sun * size * 0.22 * layer) * 8).astype(int).tolist()
                lit = 0.62 + 0.2 * (clump @ sun) + 0.19 * layer
                tones = (base * (lit + rng.uniform(-0.1, 0.1, (52, 1)))).clip(0, 250).tolist()
                radii = (rng.integers(3, 8, 52) * 8).tolist()
                for spot, tone, radius in zip(spots, tones, radii, strict=True):
                    cv2.circle(picture, spot, radius, (*tone, 255), -1, cv2.LINE_AA, 3)

    def paint(
        self, canvas: Canvas, foot: np.ndarray, height: float, mirror: bool, light: Light, depth
    ) -> None:
        """Paints the tree with its foot at a pixel (x, y), ``height`` pixels tall."""
        level = 0
        while level + 1 < len(self._sizes) and self._sizes[level + 1].shape[0] >= height * 0.8:
            level += 1
        sprite = self._sizes[level]
        rows, columns = sprite.shape[:2]
        scale = height / rows
        half = columns * scale / 2
        low, high = foot - (half, height), foot + (half, 0)
        region = canvas.region(np.array([low, high, low]))
        if region is None:
            return
        turn = -1.0 if mirror else 1.0
        x = foot[0] - turn * half - region[1].start + (scale - 1) / 2 * turn
        y = low[1] - region[0].start + (scale - 1) / 2
        place = np.array([[turn * scale, 0, x - (1 if mirror else 0)], [0, scale, y]])
        size = (region[1].stop - region[1].start, region[0].stop - region[0].start)
        patch = cv2.warpAffine(sprite, place, size, flags=cv2.INTER_LINEAR)
        cover = patch[..., 3] / 255
        colour = patch[..., :3] / np.maximum(cover, 1e-3)[..., None]
        canvas.paint(region, cover, light.haze(colour, depth), VEGETATION)


@dataclass(frozen=True)
class Tree(Thing):
    """A tree that stands somewhere.

    Args:
        sprite (TreeSprite): What it looks like.
        position (tuple): x, 0, z of its foot in metres.
        height (float): Metres.
        mirror (bool): Whether the picture is turned about.
        spread (float): Radius of its shadow in metres.
    """

    sprite: TreeSprite
    position: tuple[float, float, float]
    height: float
    mirror: bool
    spread: float = 1.8

    def shadow(self, light: Light) -> list[np.ndarray]:
        """Outlines (K, 3) of its shadow on the ground."""
        angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        wobble = 1 + 0.16 * np.sin(angle * 5 + self.position[2])
        dx, dz = light.shadow_of(self.height * 0.6)
        x = self.position[0] + dx + self.spread * wobble * np.cos(angle)
        z = self.position[2] + dz + self.spread * wobble * np.sin(angle)
        return [np.stack([x, np.zeros(14), z], axis=1)]

    def paint(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Paints it if it is in front of the camera."""
        depth = camera.depth(self.position)
        if depth < 1.0:
            return
        foot = camera.polygon(np.array([self.position]))[0]
        self.sprite.paint(
            canvas, foot, self.height * camera.focal / depth, self.mirror, light, depth
        )
