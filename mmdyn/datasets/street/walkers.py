"""People who walk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdyn.datasets.street.canvas import Canvas
from mmdyn.datasets.street.figures import Figure, Look, faces_camera, paint_head
from mmdyn.datasets.street.geometry import Camera, circle
from mmdyn.datasets.street.labels import PERSON
from mmdyn.datasets.street.light import Light
from mmdyn.datasets.street.thing import Thing


@dataclass(frozen=True)
class Walker(Thing):
    """A pedestrian at one moment.

    Args:
        look (Look): What they look like.
        position (tuple): x, 0, z in metres.
        heading (float): 0 walks along +z, pi towards the camera.
        walked (float): Metres walked so far, which sets the legs; standing people have 0.
        instance (int): The object's number in the clip.
    """

    look: Look
    position: tuple[float, float, float]
    heading: float
    walked: float
    instance: int

    def shadow(self, light: Light) -> list[np.ndarray]:
        """Outline (K, 3) of the shadow on the ground: feet to head, away from the sun."""
        dx, dz = light.shadow_of(self.look.height * 0.95)
        x, _, z = self.position
        along = np.array([dx, dz]) / (np.hypot(dx, dz) + 1e-6)
        across = np.array([-along[1], along[0]]) * 0.2
        near, far = np.array([x, z]), np.array([x + dx, z + dz])
        flat = np.array([near + across, far + across * 0.6, far - across * 0.6, near - across])
        return [np.stack([flat[:, 0], np.zeros(4), flat[:, 1]], axis=1)]

    def base(self) -> list[np.ndarray]:
        """Outline (K, 3) of the ground between the feet."""
        disc = circle(10) * 0.24
        return [np.stack([disc[:, 0], 0 * disc[:, 0], disc[:, 1]], axis=1) + self.position]

    def paint(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Far arm and leg, body, near leg and arm, head."""
        if camera.depth(self.position) < 1.2:
            return
        figure = Figure(canvas, camera, light, self.position, self.heading, PERSON, self.instance)
        look, size = self.look, self.look.height / 1.75
        phase = 2 * np.pi * self.walked / (1.45 * size)
        swing = 0.46 if self.walked else 0.04
        bob = 0.025 * abs(np.sin(phase)) * (swing > 0.1)
        hip, shoulder = size * (0.92 - bob), size * (1.45 - bob)
        if figure.scale * look.height < 12:
            self._from_afar(figure, hip, shoulder, phase, swing, size)
            return
        far = figure.far_side()
        facing = faces_camera(self.heading)
        self._arm(figure, far, shoulder, phase, swing, size, 0.82)
        self._leg(figure, far, hip, phase, swing, size, 0.8)
        self._leg(figure, -far, hip, phase, swing, size, 1.0)
        if look.pack and facing:
            self._pack(figure, hip, shoulder, size)
        self._torso(figure, hip, shoulder, size)
        if look.pack and not facing:
            self._pack(figure, hip, shoulder, size)
        self._arm(figure, -far, shoulder, phase, swing, size, 1.0)
        paint_head(figure, look, (0, shoulder + 0.06 * size, 0.0), facing)

    def _from_afar(self, figure, hip, shoulder, phase, swing, size):
        """Two legs, a body, a head: enough for a few pixels."""
        for turn, brightness in ((np.pi, 0.8), (0.0, 1.0)):
            step = 0.8 * size * swing * np.sin(phase + turn)
            figure.limb(
                (0, hip, 0), (0, 0.05, step), 0.09 * size, self.look.trousers, None, brightness
            )
        figure.limb((0, hip, 0), (0, shoulder - 0.1 * size, 0), 0.2 * size, self.look.top)
        figure.ball((0, shoulder + 0.2 * size, 0), 0.11 * size, self.look.hair, 1.15)

    def _leg(self, figure, side, hip, phase, swing, size, brightness):
        angle = swing * np.sin(phase + (0 if side > 0 else np.pi))
        lift = max(0.0, np.cos(phase + (0 if side > 0 else np.pi))) * swing * 1.5
        x = side * 0.085 * size
        top = np.array([x, hip, 0])
        knee = top + 0.44 * size * np.array([0, -np.cos(angle), np.sin(angle)])
        shin = angle - lift
        ankle = knee + 0.42 * size * np.array([0, -np.cos(shin), np.sin(shin)])
        ankle[1] = max(ankle[1], 0.06)
        figure.limb(top, knee, 0.088 * size, self.look.trousers, 0.065 * size, brightness)
        figure.limb(knee, ankle, 0.064 * size, self.look.trousers, 0.045 * size, brightness)
        toe = ankle + (0, -0.03, 0.15 * size)
        figure.limb(ankle - (0, 0.02, 0.03), toe, 0.045 * size, (52, 44, 40), None, brightness)

    def _arm(self, figure, side, shoulder, phase, swing, size, brightness):
        angle = 0.8 * swing * np.sin(phase + (np.pi if side > 0 else 0))
        x = side * 0.2 * size
        top = np.array([x, shoulder - 0.05 * size, 0])
        elbow = top + 0.28 * size * np.array([side * 0.12, -np.cos(angle), np.sin(angle)])
        hand = elbow + 0.26 * size * np.array([0, -np.cos(angle + 0.3), np.sin(angle + 0.3)])
        figure.limb(top, elbow, 0.06 * size, self.look.top, 0.05 * size, brightness)
        figure.limb(elbow, hand, 0.048 * size, self.look.top, 0.04 * size, brightness)
        figure.ball(hand - (0, 0.04 * size, 0), 0.045 * size, self.look.skin, 1.2, brightness)

    def _torso(self, figure, hip, shoulder, size):
        low = hip - (0.34 * size if self.look.long_coat else 0.06 * size)
        middle = np.array([0, hip + 0.05 * size, 0])
        figure.limb((0, low, 0), middle, 0.15 * size, self.look.top, 0.145 * size)
        figure.limb(middle, (0, shoulder - 0.1 * size, 0), 0.145 * size, self.look.top, 0.16 * size)
        line = [(-0.15 * size, shoulder - 0.04 * size, 0), (0.15 * size, shoulder - 0.04 * size, 0)]
        figure.limb(*line, 0.075 * size, self.look.top)

    def _pack(self, figure, hip, shoulder, size):
        low, high = (0, hip + 0.16 * size, -0.17), (0, shoulder - 0.14 * size, -0.17)
        figure.limb(low, high, 0.15 * size, self.look.pack, 0.13 * size, 0.9)
