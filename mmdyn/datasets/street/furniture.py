"""Lamps, signs, traffic lights and railings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdyn.datasets.street.canvas import Canvas
from mmdyn.datasets.street.geometry import Camera, capsule, circle
from mmdyn.datasets.street.labels import FENCE, POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN
from mmdyn.datasets.street.light import Light
from mmdyn.datasets.street.thing import Thing

METAL = np.array([118, 122, 126], np.float32)


def paint_rod(
    canvas: Canvas, camera: Camera, light: Light, start, end, radius: float, colour=METAL
) -> None:
    """A round pole between two street points; its sunny half is lighter."""
    ends = camera.to_camera(np.array([start, end]))
    if (ends[:, 2] < 0.6).any():
        return
    pixels = camera.to_pixels(ends)
    wide = np.maximum(radius * camera.focal / ends[:, 2], 0.3)
    depth = ends[:, 2].mean()
    dark = light.haze(np.asarray(colour, np.float32) * 0.72, depth)
    canvas.polygon(capsule(pixels[0], pixels[1], wide[0], wide[1]), dark, POLE)
    if wide.max() < 0.8:
        return
    shift = np.array([np.sign(light.sun[0]) * 0.35, 0.0]) * wide[:, None]
    bright = light.haze(np.asarray(colour, np.float32) * 1.18, depth)
    lit = capsule(pixels[0] + shift[0], pixels[1] + shift[1], wide[0] * 0.45, wide[1] * 0.45)
    canvas.polygon(lit, bright, None)


def _disc(camera: Camera, centre, radius: float, corners: np.ndarray) -> np.ndarray | None:
    """A flat shape (K, 2) of unit size that faces the camera's end of the street, in pixels."""
    x, y = corners[:, 0] * radius, corners[:, 1] * radius
    return camera.polygon(np.stack([centre[0] + x, centre[1] + y, 0 * x + centre[2]], axis=1))


@dataclass(frozen=True)
class Lamp(Thing):
    """A street lamp with an arm over the road."""

    position: tuple[float, float, float]
    height: float = 7.0

    def paint(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Pole, arm and head."""
        x, _, z = self.position
        top, tip = (x, self.height, z), (x - np.sign(x) * 1.7, self.height + 0.35, z)
        paint_rod(canvas, camera, light, (x, 0, z), (x, 1.1, z), 0.13)
        paint_rod(canvas, camera, light, (x, 1.0, z), top, 0.075)
        paint_rod(canvas, camera, light, top, tip, 0.05)
        head = np.array([[-0.1, -0.1], [0.55, -0.06], [0.55, 0.07], [-0.1, 0.1]])
        head[:, 0] *= -np.sign(x)
        tone = light.haze((206, 208, 204), camera.depth(self.position))
        canvas.polygon(_disc(camera, tip, 1.0, head), tone, POLE)


@dataclass(frozen=True)
class Sign(Thing):
    """A traffic sign on a pole: 'limit', 'give_way', 'parking', 'stop' or 'no_entry'."""

    position: tuple[float, float, float]
    kind: str

    KINDS = ("limit", "give_way", "parking", "stop", "no_entry")

    def paint(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """The pole, then the plate."""
        x, _, z = self.position
        paint_rod(canvas, camera, light, (x, 0, z), (x, 2.75, z), 0.035)
        depth = camera.depth(self.position)
        if depth < 0.8:
            return
        for shape, radius, colour, shift in self._layers():
            centre = (x + shift[0], 2.4 + shift[1], z - 0.05)
            tone = light.haze(np.array(colour, np.float32) * 0.96, depth)
            canvas.polygon(_disc(camera, centre, radius, shape), tone, TRAFFIC_SIGN)

    def _layers(self):
        round_, square = circle(22), np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
        red, white, blue, black = (196, 32, 38), (240, 240, 236), (36, 84, 168), (30, 30, 32)
        bar = square * (0.75, 0.2)
        if self.kind == "limit":
            digit = square * (0.16, 0.34)
            return [(round_, 0.36, red, (0, 0)), (round_, 0.27, white, (0, 0)),
                    (digit, 0.36, black, (-0.09, 0)), (digit, 0.36, black, (0.09, 0)),
                    (digit * 0.45, 0.36, white, (0.09, 0))]  # fmt: skip
        if self.kind == "give_way":
            angle = np.radians([90, 210, 330]) + np.pi
            triangle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
            return [(triangle, 0.5, red, (0, 0)), (triangle, 0.3, white, (0, 0))]
        if self.kind == "parking":
            return [(square, 0.34, white, (0, 0)), (square, 0.31, blue, (0, 0)),
                    (bar[:, ::-1], 0.3, white, (-0.07, 0)), (circle(14), 0.14, white, (0.04, 0.09)),
                    (circle(14), 0.06, blue, (0.04, 0.09))]  # fmt: skip
        if self.kind == "stop":
            octagon = circle(8) @ np.array([[0.924, 0.383], [-0.383, 0.924]])
            return [(octagon, 0.42, white, (0, 0)), (octagon, 0.385, red, (0, 0)),
                    (bar * (0.9, 0.8), 0.36, white, (0, 0))]  # fmt: skip
        return [(round_, 0.36, red, (0, 0)), (bar, 0.36, white, (0, 0))]


@dataclass(frozen=True)
class TrafficLight(Thing):
    """Three lamps on a pole. ``state`` is 0 red, 1 amber, 2 green."""

    position: tuple[float, float, float]
    state: int = 0

    def paint(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Pole, housing and lamps."""
        x, _, z = self.position
        paint_rod(canvas, camera, light, (x, 0, z), (x, 3.4, z), 0.06)
        depth = camera.depth(self.position)
        if depth < 0.8:
            return
        case = np.array([[-0.19, -0.5], [0.19, -0.5], [0.19, 0.5], [-0.19, 0.5]])
        box = _disc(camera, (x, 3.1, z - 0.1), 1.0, case)
        canvas.polygon(box, light.haze((34, 36, 38), depth), TRAFFIC_LIGHT)
        lamps = [(236, 44, 36), (250, 178, 40), (60, 220, 110)]
        for place, lamp in enumerate(lamps):
            on = place == self.state
            tone = np.array(lamp, np.float32) * (1.0 if on else 0.26)
            disc = _disc(camera, (x, 3.42 - 0.32 * place, z - 0.12), 0.115, circle(16))
            canvas.polygon(disc, light.haze(tone, depth * (0.2 if on else 1.0)), TRAFFIC_LIGHT)


@dataclass(frozen=True)
class Railing(Thing):
    """A metre-high railing along the street from ``position`` over ``length`` metres."""

    position: tuple[float, float, float]
    length: float = 4.0

    def paint(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Two rails and uprights; the mesh between them is fence, too."""
        x, _, z = self.position
        depth = max(camera.depth(self.position), 0.5)
        dark = light.haze((58, 66, 64), depth)

        def panel(low, high, start, end):
            corners = [[x, low, start], [x, high, start], [x, high, end], [x, low, end]]
            return camera.polygon(np.array(corners))

        canvas.polygon(panel(0.1, 1.05, z, z + self.length), dark, FENCE, opacity=0.28)
        for low in (0.12, 1.0):
            canvas.polygon(panel(low, low + 0.06, z, z + self.length), dark, FENCE)
        step = 0.25 if depth < 14 else 0.5
        for start in np.arange(z, z + self.length, step) if depth < 28 else ():
            canvas.polygon(panel(0.12, 1.03, start, start + 0.04), dark, FENCE)
        post = panel(0.0, 1.12, z, z + 0.09)
        canvas.polygon(post, light.haze((44, 50, 50), depth), FENCE)
