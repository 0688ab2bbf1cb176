"""Cars, vans and buses: shaded solids with windows, lights and wheels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdyn.datasets.street.canvas import Canvas
from mmdyn.datasets.street.geometry import Camera, circle, outward, turn_about_y
from mmdyn.datasets.street.light import Light
from mmdyn.datasets.street.thing import Thing
from mmdyn.datasets.street.vehicle_shapes import VehicleShape

GLASS_SKY, GLASS_DARK = np.array([146, 164, 180]), np.array([30, 36, 44])
TYRE, RIM = (26, 26, 28), (168, 170, 174)


@dataclass(frozen=True)
class Vehicle(Thing):
    """A vehicle at one moment.

    Args:
        shape (VehicleShape): Its form.
        paint_colour (tuple): RGB of the body.
        position (tuple): x, 0, z of its middle on the ground, metres.
        heading (float): 0 drives along +z, pi comes towards the camera, pi/2 drives to +x.
        instance (int): The object's number in the clip.
        braking (bool): Whether the brake lights are on. Default False.
        rolled (float): Metres driven, which turns the wheels. Default 0.
    """

    shape: VehicleShape
    paint_colour: tuple[float, float, float]
    position: tuple[float, float, float]
    heading: float
    instance: int
    braking: bool = False
    rolled: float = 0.0

    def shadow(self, light: Light) -> list[np.ndarray]:
        """Outlines (K, 3) of its shadow: the ground below it and what the sun casts beside it."""
        base = self.base()[0]
        dx, dz = light.shadow_of(self.shape.height * 0.8)
        cast = base * (1, 0, 1) + (dx, 0, dz)
        middle = (base + cast) / 2
        return [base, middle, cast, *(_joined(base, cast))]

    def base(self) -> list[np.ndarray]:
        """Outline (4, 3) of the ground right below it, which no sun reaches."""
        half, end = self.shape.width / 2, self.shape.length
        return [self._place([[-half, 0, 0], [half, 0, 0], [half, 0, end], [-half, 0, end]])]

    def _place(self, local: np.ndarray) -> np.ndarray:
        """Points of the vehicle (K, 3) in the street."""
        centred = np.asarray(local, float) - (0, 0, self.shape.length / 2)
        return turn_about_y(centred, self.heading) + self.position

    def paint(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Paints the sides that can be seen, far ones first, then wheels and lights."""
        if camera.depth(self.position) < -self.shape.length:
            return
        self._underside(canvas, camera)
        faces = [self._panel(i) for i in range(len(self.shape.profile) - 1)]
        faces += [self._side(side) for side in (-1, 1)]
        eye = np.asarray(camera.position)
        centre = self._place([[0, self.shape.height / 2, self.shape.length / 2]])[0]
        seen = []
        for corners, detail in faces:
            middle = corners.mean(axis=0)
            normal = outward(corners, centre)
            if normal @ (eye - middle) > 0:
                seen.append((np.linalg.norm(eye - middle), corners, normal, detail))
        for _, corners, normal, detail in sorted(seen, key=lambda face: -face[0]):
            detail(canvas, camera, light, corners, light.facing(normal))

    def _fill(self, canvas, camera, corners, colour, below=None, opacity=1.0):
        outline = camera.polygon(corners)
        canvas.polygon(outline, colour, self.shape.label, self.instance, below, opacity)

    def _pixels(self, camera) -> float:
        """Its height in the picture, which decides how much detail is worth painting."""
        return self.shape.height * camera.focal / max(camera.depth(self.position), 1.0)

    def _hazed(self, camera, light, colour):
        return light.haze(np.asarray(colour, np.float32), max(camera.depth(self.position), 0.0))

    def _underside(self, canvas, camera):
        """The dark space below the body, and the tyres seen from the end."""
        if self._pixels(camera) < 10:
            return
        low = self.shape.profile[0][1] + 0.06
        half = self.shape.width / 2 - 0.08
        for z in self.shape.wheels:
            for side in (-1, 1):
                inner, outer = side * (half - 0.2), side * half
                tyre = [[inner, 0, z], [outer, 0, z], [outer, low, z], [inner, low, z]]
                self._fill(canvas, camera, self._place(np.array(tyre)), TYRE)
        for z in (self.shape.wheels[0] + 0.2, self.shape.wheels[-1] - 0.2):
            belly = [[-half, 0.14, z], [half, 0.14, z], [half, low, z], [-half, low, z]]
            self._fill(canvas, camera, self._place(np.array(belly)), (18, 18, 20))

    def _panel(self, index: int):
        """One strip across the vehicle: its corners and how to paint it."""
        (z0, y0, w0, material), (z1, y1, w1, _) = self.shape.profile[index : index + 2]
        local = np.array([[-w0, y0, z0], [w0, y0, z0], [w1, y1, z1], [-w1, y1, z1]])
        corners = self._place(local)

        def detail(canvas, camera, light, corners, brightness):
            if material == "glass":
                top, bottom = GLASS_SKY * (0.72 + 0.2 * brightness), GLASS_DARK
                self._fill(canvas, camera, corners, self._hazed(camera, light, self._body(0.8)))
                inset = _within(corners, -0.9, 0.9, 0.05, 0.94)
                top, bottom = (self._hazed(camera, light, c) for c in (top, bottom))
                self._fill(canvas, camera, inset, top, bottom)
                return
            tone = self._body(brightness)
            shaded = self._hazed(camera, light, tone * (0.86 if material == "body" else 0.7))
            self._fill(canvas, camera, corners, self._hazed(camera, light, tone * 1.06), shaded)
            if material == "dark" and y0 != y1:
                skirt = _within(corners, -0.97, 0.97, *((0, 0.42) if y1 > y0 else (0.58, 1)))
                self._fill(canvas, camera, skirt, self._hazed(camera, light, (44, 45, 48)))
            if index in (self.shape.tail, self.shape.nose) and self._pixels(camera) > 9:
                self._lights(canvas, camera, light, corners, rear=index == self.shape.tail)

        return corners, detail

    def _body(self, brightness: float) -> np.ndarray:
        return np.clip(np.asarray(self.paint_colour) * brightness + 6, 0, 250)

    def _lights(self, canvas, camera, light, corners, rear: bool):
        lamp = (210, 24, 26) if rear else (246, 246, 236)
        lamp = (255, 60, 50) if rear and self.braking else lamp
        low, high = (0.5, 0.95) if rear else (0.3, 0.85)
        for s0, s1 in ((-0.97, -0.66), (0.66, 0.97)):
            if self._pixels(camera) > 40:
                rim = _within(corners, s0, s1, low, high)
                self._fill(canvas, camera, rim, self._hazed(camera, light, (60, 20, 22)))
            glow = _within(corners, s0 + 0.03, s1 - 0.03, low + 0.06, high - 0.06)
            self._fill(canvas, camera, glow, self._hazed(camera, light, lamp))
        if self._pixels(camera) < 16:
            return
        plate = _within(corners, -0.26, 0.26, 0.12, 0.4)
        self._fill(canvas, camera, plate, self._hazed(camera, light, (228, 228, 216)))
        if not rear:
            grille = _within(corners, -0.5, 0.5, 0.45, 0.8)
            self._fill(canvas, camera, grille, self._hazed(camera, light, (30, 31, 34)))

    def _side(self, side: int):
        """One flank: body, windows between pillars, wheels."""
        points = np.array([(side * w, y, z) for z, y, w, _ in self.shape.profile])
        corners = self._place(points)

        def detail(canvas, camera, light, corners, brightness):
            flank = points.copy()
            rear, _, _, front = self.shape.belt
            lower = np.concatenate([flank[: rear + 1], flank[front:]])
            tone = self._hazed(camera, light, self._body(brightness))
            dark = self._hazed(camera, light, self._body(brightness * 0.62))
            self._fill(canvas, camera, corners, tone, dark)
            self._windows(canvas, camera, light, side)
            if self._pixels(camera) > 45:
                self._doors(canvas, camera, light, side, brightness)
            if self._pixels(camera) > 24:
                sill = np.array([lower[0], lower[1], lower[-2], lower[-1]]) * (1, 0.93, 1)
                self._fill(canvas, camera, self._place(sill), dark, opacity=0.55)
            self._wheels(canvas, camera, light, side)

        return corners, detail

    def _windows(self, canvas, camera, light, side):
        rear, rear_top, front_top, front = (
            np.array([side * self.shape.profile[i][2], *self.shape.profile[i][1::-1]])
            for i in self.shape.belt
        )
        if self.shape.belt[0] == self.shape.belt[1]:  # a van: glass in the doors alone
            rear = front + (front_top - front) * (0, 0, 1) + (0, 0, -0.35)
            rear_top = front_top + (0, 0, -0.35)
        quad = np.array([rear, front, front_top, rear_top])
        top, bottom = (self._hazed(camera, light, c) for c in (GLASS_SKY * 0.72, GLASS_DARK))
        pillars = self.shape.pillars if self._pixels(camera) > 18 else ()
        edges = [-0.96, *(2 * p - 1 for p in pillars), 0.95]
        for left, right in zip(edges, edges[1:], strict=False):
            pane = _within(quad, left + 0.025, right - 0.025, 0.06, 0.86)
            self._fill(canvas, camera, self._place(pane), top, bottom)

    def _doors(self, canvas, camera, light, side, brightness):
        """Seams below the pillars, handles, and the light along the waist."""
        half, belt = self.shape.width / 2, self.shape.profile[self.shape.belt[0]]
        end = self.shape.profile[self.shape.belt[3]]
        x, top = side * half, min(belt[1], end[1])

        def patch(z0, z1, y0, y1, colour, opacity):
            corners = np.array([[x, y0, z0], [x, y0, z1], [x, y1, z1], [x, y1, z0]])
            tone = self._hazed(camera, light, colour)
            self._fill(canvas, camera, self._place(corners), tone, opacity=opacity)

        bright = self._body(brightness * 1.25)
        patch(0.1, self.shape.length - 0.15, top - 0.14, top - 0.09, bright, 0.6)
        for share in (*self.shape.pillars, 0.97):
            z = belt[0] + (end[0] - belt[0]) * share
            patch(z - 0.012, z + 0.012, 0.36, top - 0.02, (20, 20, 22), 0.7)
            if self.shape.length < 6:
                patch(z + 0.07, z + 0.24, top - 0.2, top - 0.16, (30, 30, 32), 0.8)

    def _wheels(self, canvas, camera, light, side):
        radius, half = self.shape.wheel_radius, self.shape.width / 2 - 0.01
        for z in self.shape.wheels:

            def ring(size, count=20, turn=0.0, z=z):
                angle = np.arctan2(*circle(count).T) + turn
                y, along = radius + size * np.sin(angle), z + size * np.cos(angle)
                return self._place(np.stack([0 * y + side * half, y, along], axis=1))

            size = self._pixels(camera)
            if size > 20:
                arch = ring(radius * 1.17)
                arch[:, 1] = np.maximum(arch[:, 1], radius * 0.9)
                self._fill(canvas, camera, arch, (22, 22, 24))
            self._fill(canvas, camera, ring(radius), self._hazed(camera, light, TYRE))
            if size < 14:
                continue
            rim = self._hazed(camera, light, RIM)
            self._fill(canvas, camera, ring(radius * 0.66), rim, rim * 0.7)
            if size < 50:
                continue
            turn = self.rolled / radius
            for spoke in range(5):
                gap = ring(radius * 0.46, 5, turn)[[spoke]]
                hub = ring(0.05, 5, turn)[[spoke, (spoke + 1) % 5]]
                next_gap = ring(radius * 0.46, 5, turn + 0.5)[[spoke]]
                slot = np.concatenate([hub[:1], gap, next_gap])
                self._fill(canvas, camera, slot, self._hazed(camera, light, (60, 62, 66)))


def _within(quad: np.ndarray, left: float, right: float, low: float, high: float) -> np.ndarray:
    """Part of a quad (4, 3): across from -1 to 1, up from 0 to 1."""
    s = np.array([left, right, right, left])[:, None] / 2 + 0.5
    t = np.array([low, low, high, high])[:, None]
    bottom = quad[0] + (quad[1] - quad[0]) * s
    top = quad[3] + (quad[2] - quad[3]) * s
    return bottom + (top - bottom) * t


def _joined(base: np.ndarray, cast: np.ndarray) -> list[np.ndarray]:
    """Quads between each edge of two outlines (4, 3)."""
    pairs = [(i, (i + 1) % 4) for i in range(4)]
    return [np.array([base[i], base[j], cast[j], cast[i]]) for i, j in pairs]
