"""Bicycles and who rides them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdyn.datasets.street.canvas import Canvas
from mmdyn.datasets.street.figures import Figure, Look, faces_camera, paint_head
from mmdyn.datasets.street.geometry import Camera, circle, turn_about_y
from mmdyn.datasets.street.labels import BICYCLE, RIDER
from mmdyn.datasets.street.light import Light
from mmdyn.datasets.street.thing import Thing


@dataclass(frozen=True)
class Cyclist(Thing):
    """A rider on a bicycle at one moment: two objects, as in Cityscapes.

    Args:
        look (Look): The rider.
        frame_colour (tuple): RGB of the bicycle.
        position (tuple): x, 0, z of the middle in metres.
        heading (float): 0 rides along +z.
        rolled (float): Metres ridden, which turns the pedals.
        instance (int): The bicycle's number; the rider's is the next.
        ridden (bool): False for a parked bicycle. Default True.
    """

    look: Look
    frame_colour: tuple
    position: tuple[float, float, float]
    heading: float
    rolled: float
    instance: int
    ridden: bool = True

    def shadow(self, light: Light) -> list[np.ndarray]:
        """Outline (K, 3) of the shadow below and beside it."""
        dx, dz = light.shadow_of(1.5 if self.ridden else 0.7)
        ends = turn_about_y(np.array([[0, 0, -0.8], [0, 0, 0.8]]), self.heading) + self.position
        cast = (ends[::-1] + np.array([dx, 0, dz])) * (1, 0, 1)
        wide = np.array([0.07, 0, 0.0])
        return [np.concatenate([ends, cast]), np.concatenate([ends - wide, ends[::-1] + wide])]

    def paint(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Far leg, bicycle, body, near leg."""
        if camera.depth(self.position) < 1.6:
            return
        place = (canvas, camera, light, self.position, self.heading)
        bicycle = Figure(*place, BICYCLE, self.instance)
        rider = Figure(*place, RIDER, self.instance + 1)
        far = rider.far_side()
        phase = self.rolled / 0.9
        if self.ridden:
            self._leg(rider, far, phase, 0.8)
            self._arm(rider, far, 0.82)
        self._bicycle(bicycle)
        if not self.ridden:
            return
        top = self.look.top
        rider.limb((0, 0.98, -0.24), (0, 1.2, -0.1), 0.14, top, 0.145)
        rider.limb((0, 1.2, -0.1), (0, 1.36, 0.02), 0.145, top, 0.16)
        rider.limb((-0.16, 1.4, 0.03), (0.16, 1.4, 0.03), 0.07, top)
        self._leg(rider, -far, phase, 1.0)
        self._arm(rider, -far, 1.0)
        facing = faces_camera(self.heading)
        paint_head(rider, self.look, (0, 1.47, 0.08), facing)
        rider.ball((0, 1.73, 0.08), 0.118, self.frame_colour, 0.72)

    def _bicycle(self, figure):
        for z in (-0.52, 0.52):
            y, along = 0.34 + 0.335 * circle(22).T
            disc = figure.pixels(np.stack([0 * y, y, z + (along - 0.34)], axis=1))
            grey = figure.tone((120, 122, 124))
            figure.canvas.polygon(disc, grey, figure.label, figure.instance, opacity=0.22)
            middle, thick = disc.mean(axis=0), max(0.05 * figure.scale, 0.9)
            away = disc - middle
            away *= np.maximum(1 - thick / (np.linalg.norm(away, axis=1, keepdims=True) + 1e-6), 0)
            ring = np.concatenate([disc, disc[:1], (middle + away)[:1], (middle + away)[::-1]])
            figure.canvas.polygon(ring, figure.tone((24, 24, 26)), figure.label, figure.instance)
        crank, seat, head = (0, 0.3, -0.05), (0, 0.86, -0.24), (0, 0.84, 0.34)
        tubes = [(crank, seat), (crank, head), (seat, head), ((0, 0.34, -0.52), crank),
                 ((0, 0.34, -0.52), seat), ((0, 0.34, 0.52), (0, 0.98, 0.3))]  # fmt: skip
        for start, end in tubes:
            figure.limb(start, end, 0.022, self.frame_colour)
        figure.limb((0, 0.93, -0.34), (0, 0.93, -0.14), 0.045, (30, 28, 28))
        figure.limb((-0.24, 1.02, 0.28), (0.24, 1.02, 0.28), 0.022, (40, 40, 42))

    def _leg(self, figure, side, phase, brightness):
        turn = phase + (0 if side > 0 else np.pi)
        x = side * 0.1
        hip = np.array([x, 0.95, -0.22])
        foot = np.array([x, 0.3 + 0.17 * np.sin(turn), -0.05 + 0.17 * np.cos(turn)])
        reach = foot - hip
        far = min(np.linalg.norm(reach), 0.87)
        bend = np.sqrt(max(0.44**2 - (far / 2) ** 2, 1e-4))
        ahead = np.array([0, -reach[2], reach[1]]) / np.linalg.norm(reach)
        knee = (hip + foot) / 2 - ahead * bend
        figure.limb(hip, knee, 0.085, self.look.trousers, 0.065, brightness)
        figure.limb(knee, foot, 0.062, self.look.trousers, 0.045, brightness)
        figure.limb(foot - (0, 0, 0.06), foot + (0, -0.02, 0.14), 0.045, (46, 40, 38))

    def _arm(self, figure, side, brightness):
        shoulder, grip = np.array([side * 0.18, 1.36, 0.04]), np.array([side * 0.22, 1.04, 0.3])
        elbow = (shoulder + grip) / 2 + (side * 0.04, -0.07, -0.03)
        figure.limb(shoulder, elbow, 0.055, self.look.top, 0.047, brightness)
        figure.limb(elbow, grip, 0.045, self.look.top, 0.04, brightness)
        figure.ball(grip, 0.045, self.look.skin)
