"""A street with everything in it, at any moment of a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdyn.datasets.street.buildings import draw_row
from mmdyn.datasets.street.canvas import Canvas
from mmdyn.datasets.street.geometry import Camera
from mmdyn.datasets.street.ground import Ground, StreetPlan
from mmdyn.datasets.street.light import Light
from mmdyn.datasets.street.sky import Backdrop, Sky
from mmdyn.datasets.street.texture import Noise, smooth
from mmdyn.datasets.street.thing import Thing
from mmdyn.datasets.street.traffic import Actor, populate

EYE_HEIGHT = 1.45  # metres: a camera behind a windscreen


@dataclass(frozen=True)
class Ride:
    """How the camera moves.

    Args:
        speed (float): Metres a second along the street; 0 for a still camera.
        yaw (float): Radians to the right.
        sway (float): Phase of the car's small movements.
    """

    speed: float
    yaw: float
    sway: float

    def camera(self, height: int, width: int, lane: float, seconds: float) -> Camera:
        """The camera at one moment; a still one never changes."""
        yaw, pitch, y, x = self.yaw, 0.035, EYE_HEIGHT, lane
        if self.speed:
            turn = 2 * np.pi * seconds + self.sway
            yaw += 0.006 * np.sin(0.21 * turn)
            pitch += 0.0016 * np.sin(1.3 * turn) + 0.0008 * np.sin(2.9 * turn)
            y += 0.008 * np.sin(1.7 * turn)
            x += 0.14 * np.sin(0.17 * turn)
        place = (float(x), float(y), float(self.speed * seconds))
        return Camera(width, height, place, float(yaw), float(pitch))


class Scene:
    """Draws one street from a seed and paints it from its camera.

    Args:
        seed (int): Everything follows from it.
        moving (bool): A camera that drives along, or one that waits at a crossing.
        seconds (float): How long the clip lasts; the street is made long enough for it.
    """

    def __init__(self, seed: int, moving: bool, seconds: float) -> None:
        rng = np.random.default_rng([seed, int(moving)])
        self.light = Light.draw(rng)
        self.noise = Noise(rng)
        speed = float(rng.uniform(6.5, 10.5)) if moving else 0.0
        self.ride = Ride(speed, float(rng.uniform(-0.02, 0.05)), float(rng.uniform(0, 6)))
        grass = float(rng.uniform(1.5, 3.5)) if rng.random() < 0.45 else 0.0
        near = float(rng.uniform(13.5, 18.0)) if not moving else float(rng.uniform(26, 60))
        self.plan = StreetPlan(
            road=float(rng.uniform(5.8, 6.6)),
            pavement=float(rng.uniform(2.8, 4.2)),
            grass=grass,
            crossing=(near, near + 8.5) if not moving or rng.random() < 0.6 else None,
        )
        length = 190.0 + speed * seconds
        self.houses = {side: draw_row(rng, self.plan, side, length) for side in (-1, 1)}
        self.sky, self.backdrop = Sky(rng, self.noise), Backdrop(rng, self.noise)
        self.ground = Ground(self.plan, self.noise, rng)
        self.actors: list[Actor] = populate(rng, self.plan, self.light, length, speed, seconds)

    def camera(self, height: int, width: int, seconds: float) -> Camera:
        """Where the picture is taken from."""
        return self.ride.camera(height, width, self.plan.lane, seconds)

    def paint(self, height: int, width: int, seconds: float) -> Canvas:
        """The street at one moment, before the camera's sensor."""
        canvas, camera = Canvas(height, width), self.camera(height, width, seconds)
        reach = camera.position[2] + 185
        self.sky.paint(canvas, camera, self.light, seconds)
        self.backdrop.paint(canvas, camera, self.light)
        houses = [h for row in self.houses.values() for h in row]
        for house in sorted(houses, key=lambda h: -h.start):
            if house.end > camera.position[2] and house.start < reach:
                house.paint(canvas, camera, self.light, self.noise)
        self.ground.paint(canvas, camera, self.light, self.shade_at)
        self.ground.wear(canvas, camera)
        things = [make(seconds) for make in self.actors]
        placed = [(camera.depth(thing.position), thing) for thing in things]
        placed = [(depth, thing) for depth, thing in placed if -12 < depth < 185]
        for depth, thing in placed:
            self._cast(canvas, camera, thing, depth)
        for _, thing in sorted(placed, key=lambda pair: -pair[0]):
            thing.paint(canvas, camera, self.light)
        return canvas

    def _cast(self, canvas: Canvas, camera: Camera, thing: Thing, depth: float) -> None:
        """The shadow of one thing, weak where a house already takes the sun."""
        shadow, base = thing.shadow(self.light), thing.base()
        if depth < 0 or depth > 90 or not (shadow or base):
            return
        x, _, z = thing.position
        shade = self.shade_at(np.array([[x]]), np.array([[z]]), np.array([[1.0]]))[0, 0]
        outlines = [camera.polygon(points) for points in shadow]
        blur = float(np.clip(0.05 * camera.focal / max(depth, 2.0), 0.4, canvas.size[0] / 60))
        canvas.darken(outlines, float(0.46 - 0.36 * shade), blur)
        canvas.darken(
            [camera.polygon(points) for points in base], float(0.2 + 0.25 * shade), 1.5 * blur
        )

    def shade_at(self, x: np.ndarray, z: np.ndarray, soft: np.ndarray) -> np.ndarray:
        """Share of shadow in [0, 1] that the houses cast on the ground at (x, z), metres.

        A point is followed towards the sun up to the row of houses; it lies in the shade where it
        meets a wall below the wall's top. ``soft`` is the width of the shadow's edge.
        """
        sun_x, sun_y, sun_z = self.light.sun
        side = 1 if sun_x > 0 else -1
        row = self.houses[side]
        way = np.maximum((side * self.plan.houses - x) / sun_x, 0.0)
        height, along = way * sun_y, z + way * sun_z
        starts = np.array([house.start for house in row])
        nearest = np.clip(np.searchsorted(starts, along, side="right") - 1, 0, len(row) - 1)
        tops = np.array([house.height for house in row])[nearest]
        gone = along > np.array([house.end for house in row])[nearest]
        return smooth((np.where(gone, 0.0, tops) - height) / soft, -0.5, 0.5).astype(np.float32)
