"""Jointed figures: limbs and heads with clothes, lit from one side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdyn.datasets.street.geometry import capsule, circle, turn_about_y

SKINS = ((236, 196, 168), (222, 176, 146), (172, 122, 90), (120, 82, 60), (244, 208, 184))
HAIRS = ((40, 30, 24), (86, 58, 34), (150, 112, 62), (24, 22, 24), (168, 160, 152))
TOPS = ((176, 36, 44), (38, 62, 116), (44, 46, 52), (230, 226, 216), (58, 108, 82), (206, 154, 52),
        (112, 70, 120), (92, 120, 150), (214, 110, 60), (150, 150, 146))  # fmt: skip
TROUSERS = ((44, 52, 78), (36, 36, 40), (96, 86, 72), (70, 84, 110), (140, 128, 106))


@dataclass(frozen=True)
class Look:
    """Colours and build of a person.

    Args:
        height (float): Metres.
        skin (tuple): RGB.
        hair (tuple): RGB.
        top (tuple): RGB.
        trousers (tuple): RGB.
        pack (tuple | None): RGB of a rucksack, if any.
        long_coat (bool): Whether the top reaches to the knees.
    """

    height: float
    skin: tuple
    hair: tuple
    top: tuple
    trousers: tuple
    pack: tuple | None
    long_coat: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Look:
        """Someone."""
        height = (
            float(rng.uniform(1.56, 1.9)) if rng.random() > 0.14 else float(rng.uniform(1.1, 1.4))
        )
        picks = [group[rng.integers(len(group))] for group in (SKINS, HAIRS, TOPS, TROUSERS)]
        pack = TOPS[rng.integers(len(TOPS))] if rng.random() < 0.3 else None
        return cls(height, *picks, pack, bool(rng.random() < 0.25))


class Figure:
    """Draws limbs of one body in painter's order: the far side first.

    Args:
        canvas (Canvas): What to paint on.
        camera (Camera): Who looks.
        light (Light): Which side is lit.
        position (tuple): x, 0, z of the body on the ground.
        heading (float): Where it faces; 0 is +z.
        label (int): trainId.
        instance (int): The object's number in the clip.
    """

    def __init__(self, canvas, camera, light, position, heading, label, instance) -> None:
        self.canvas, self.camera, self.light = canvas, camera, light
        self.position, self.heading = position, heading
        self.label, self.instance = label, instance
        self.depth = camera.depth(position)
        self.scale = camera.focal / self.depth
        self.lit_right = np.sign(camera.rotation[0] @ np.asarray(light.sun))

    def pixels(self, local) -> np.ndarray:
        """Local points (K, 3) (x right of the body, y up, z ahead) in pixels (K, 2)."""
        street = turn_about_y(np.atleast_2d(local), self.heading) + self.position
        return self.camera.to_pixels(self.camera.to_camera(street))

    def far_side(self) -> int:
        """-1 if the body's left is farther from the camera, else 1."""
        across = turn_about_y(np.array([[1.0, 0, 0]]), self.heading)[0]
        return 1 if across @ self.camera.rotation[2] > 0 else -1

    def tone(self, colour, brightness: float = 1.0):
        """A colour in this light and through this much air."""
        return self.light.haze(np.asarray(colour, np.float32) * brightness, self.depth)

    def limb(self, start, end, radius, colour, end_radius=None, brightness=1.0) -> None:
        """A rounded limb between two local points; radii in metres; its sunny side is lighter."""
        a, b = self.pixels([start, end])
        wide = max(radius * self.scale, 0.35)
        narrow = max((radius if end_radius is None else end_radius) * self.scale, 0.3)
        shade = self.tone(colour, 0.74 * brightness)
        self.canvas.polygon(capsule(a, b, wide, narrow), shade, self.label, self.instance)
        if wide > 1.5:
            shift = np.array([self.lit_right * 0.32 * wide, 0])
            lit = capsule(a + shift, b + shift * narrow / wide, wide * 0.62, narrow * 0.62)
            self.canvas.polygon(lit, self.tone(colour, 1.04 * brightness), None)

    def ball(self, centre, radius, colour, stretch=1.0, brightness=1.0) -> None:
        """A head or a hand."""
        middle = self.pixels(centre)[0]
        outline = middle + circle(16) * radius * self.scale * (1, stretch)
        fill = self.tone(colour, brightness)
        self.canvas.polygon(outline, fill, self.label, self.instance)


def paint_head(figure: Figure, look: Look, neck, facing_camera: bool) -> None:
    """A head on a neck (local x, y, z in metres); the face shows if it faces the camera."""
    head = np.asarray(neck) + (0, 0.17, 0.02)
    figure.limb(np.asarray(neck) - (0, 0.03, 0), np.asarray(neck) + (0, 0.08, 0), 0.055, look.skin)
    figure.ball(head + (0, 0.02, -0.015), 0.108, look.hair, 1.18, 0.9)
    if facing_camera:
        figure.ball(head + (0, -0.025, 0.05), 0.088, look.skin, 1.12)
        fringe = figure.pixels(head + (0, 0.07, 0.05))[0]
        cap = fringe + circle(14) * figure.scale * (0.095, 0.055)
        figure.canvas.polygon(cap, figure.tone(look.hair, 0.95), figure.label, figure.instance)
    else:
        figure.ball(head + (0, -0.05, 0.05), 0.075, look.skin, 1.0, 0.9)
        figure.ball(head + (0, 0.03, -0.02), 0.105, look.hair, 1.1)


def faces_camera(heading: float) -> bool:
    """Whether someone who goes this way shows the face to a camera that looks along +z."""
    return abs(heading % (2 * np.pi) - np.pi) < 1.9
