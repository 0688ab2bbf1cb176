"""Road with its marks, kerbs, pavement and grass: one shaded plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdyn.datasets.street.canvas import Canvas
from mmdyn.datasets.street.geometry import Camera, circle
from mmdyn.datasets.street.labels import ROAD, SIDEWALK, TERRAIN
from mmdyn.datasets.street.light import SHADE, Light
from mmdyn.datasets.street.texture import Noise, box, hashed, mix, pulse, smooth


@dataclass(frozen=True)
class StreetPlan:
    """Where things are, in metres; the street runs along z with its middle at x = 0.

    Args:
        road (float): Half the road's width, parking included.
        pavement (float): Width of each pavement.
        grass (float): Width of the grass between pavement and houses; may be 0.
        crossing (tuple | None): z where a crossing street begins and ends.
    """

    road: float = 6.2
    pavement: float = 3.2
    grass: float = 0.0
    crossing: tuple[float, float] | None = None

    @property
    def houses(self) -> float:
        """Distance of the houses from the middle."""
        return self.road + self.pavement + self.grass

    @property
    def lane(self) -> float:
        """Distance of each lane's middle from the street's middle."""
        return (self.road - 2.1) / 2

    @property
    def zebras(self) -> list[tuple[float, float]]:
        """z from and to of the crossings for pedestrians."""
        if self.crossing is None:
            return []
        return [(self.crossing[0] - 4.4, self.crossing[0] - 1.2)]


class Ground:
    """Paints everything that lies flat.

    Args:
        plan (StreetPlan): The street.
        noise (Noise): Wear of the asphalt, stones and grass.
        rng (np.random.Generator): Places the patches and manholes.
    """

    def __init__(self, plan: StreetPlan, noise: Noise, rng: np.random.Generator) -> None:
        self.plan = plan
        self.noise = noise
        self.tone = rng.uniform(-10, 8)
        self.seed = int(rng.integers(1 << 30))
        spots = rng.uniform((-4, 4), (4, 190), (26, 2))
        self.manholes = spots[:10].tolist()
        self.patches = [(*p, *rng.uniform((0.5, 1.0), (1.5, 5.0))) for p in spots[10:].tolist()]

    def paint(self, canvas: Canvas, camera: Camera, light: Light, shade_at) -> None:
        """Paints below the horizon.

        Args:
            canvas (Canvas): What to paint on.
            camera (Camera): Who looks.
            light (Light): Colours the haze.
            shade_at (Callable): (x, z, softness), each (h, w), to the share of shadow (h, w).
        """
        height, width = canvas.size
        top = int(np.clip(height / 2 - np.tan(camera.pitch) * camera.focal, 0, height - 1))
        region = (slice(top, height), slice(0, width))
        ray_x, ray_y, ray_z = camera.rays(region)
        below = ray_y < -2e-3
        depth = camera.position[1] / np.maximum(-ray_y, 2e-3)
        x, z = camera.position[0] + ray_x * depth, camera.position[2] + ray_z * depth
        wide = depth / camera.focal
        long = depth * depth / (camera.focal * camera.position[1])
        crossing = self._crossing(z, long)
        road, kerb, grass = self._zones(x, wide, crossing)
        colour = self._pavement(x, z, wide, long)
        colour = mix(colour, self._grass(x, z, wide), grass)
        colour = mix(colour, self._asphalt(x, z, wide, long, crossing), road)
        colour = mix(colour, (168, 166, 160), kerb)
        soft = wide + long * 0.3 + 0.05
        shade = sum(shade_at(x, z + step * long, soft) for step in (-0.33, 0.0, 0.33)) / 3
        colour = colour * mix(np.ones(3), SHADE, shade)
        label = np.where(road >= 0.5, ROAD, np.where(grass >= 0.5, TERRAIN, SIDEWALK))
        canvas.paint(region, below.astype(np.float32), light.haze(colour, depth), None)
        canvas.semantic[region][below] = label[below]

    def wear(self, canvas: Canvas, camera: Camera) -> None:
        """Paints repaired patches and manholes on the road."""
        for x, z, wide, long in self.patches:
            corners = [[x, 0, z], [x + wide, 0, z], [x + wide, 0, z + long], [x, 0, z + long]]
            canvas.darken([camera.polygon(np.array(corners))], 0.09, 0.5)
        for x, z in self.manholes:
            if not 1.5 < z - camera.position[2] < 45:
                continue
            for radius, strength in ((0.37, 0.10), (0.31, 0.09)):
                ring = circle(24) * radius + (x, z)
                flat = np.stack([ring[:, 0], 0 * ring[:, 0], ring[:, 1]], axis=1)
                canvas.darken([camera.polygon(flat)], strength, 0.4)

    def _crossing(self, z, long):
        if self.plan.crossing is None:
            return np.zeros_like(z)
        return box(z, *self.plan.crossing, long)

    def _zones(self, x, wide, crossing):
        """Shares of road, kerb and grass, each (h, w)."""
        plan, beside = self.plan, np.abs(x)
        road = np.maximum(box(beside, -1, plan.road, wide), crossing)
        kerb = box(beside, plan.road, plan.road + 0.18, wide) * (1 - crossing)
        edge = plan.road + plan.pavement
        grass = box(beside, edge, edge + plan.grass, wide) if plan.grass else np.zeros_like(x)
        grass = np.maximum(grass, box(beside, plan.houses + 0.3, 1e4, wide)) * (1 - crossing)
        return road, kerb, grass

    def _pavement(self, x, z, wide, long):
        stone = hashed(np.floor(x / 0.6), np.floor(z / 0.6) + self.seed)
        near = np.clip(1.2 - long, 0, 1)
        joints = 1 - (1 - pulse(x, 0.6, 0, 0.025, wide)) * (1 - pulse(z, 0.6, 0, 0.025, long))
        tone = 158 + 14 * (stone - 0.5) * near + 10 * self.noise.at(x, z, 7.0)
        colour = tone[..., None] * np.array([1.0, 0.975, 0.94], np.float32)
        return colour * (1 - 0.3 * joints[..., None])

    def _grass(self, x, z, wide):
        near = np.clip(1.5 - 40 * wide, 0, 1)
        blade = self.noise.at(x, z, 1.1) * near + self.noise.at(x, z, 9.0) * 0.6
        return mix((84, 108, 52), (138, 150, 76), smooth(blade, -0.8, 0.9))

    def _asphalt(self, x, z, wide, long, crossing):
        grain = self.noise.at(x, z, 1.3) * np.clip(1.2 - 30 * wide, 0, 1)
        worn = self.noise.at(x, z * 0.35, 11.0)
        lane = self.plan.lane
        tracks = sum(np.exp(-(((np.abs(x) - lane + t) / 0.32) ** 2)) for t in (-0.75, 0.75))
        oil = np.exp(-(((np.abs(x) - lane) / 0.4) ** 2))
        tone = 118 + self.tone + 7 * grain + 8 * worn - (6 * tracks + 5 * oil) * (1 - crossing)
        gutter = box(np.abs(x), self.plan.road - 0.22, self.plan.road, wide) * (1 - crossing)
        tone = tone * (1 - 0.16 * gutter)
        colour = tone[..., None] * np.array([0.985, 0.99, 1.02], np.float32)
        marks = self._marks(x, z, wide, long) * (0.86 + 0.14 * self.noise.at(x, z, 1.7))
        return mix(colour, (222, 222, 214), np.clip(marks, 0, 1))

    def _marks(self, x, z, wide, long):
        plan = self.plan
        dashes = box(x, -0.07, 0.07, wide) * pulse(z, 7.5, 0, 3.2, long)
        parking = box(np.abs(x), plan.road - 2.15, plan.road - 2.05, wide)
        bays = pulse(z, 6.0, 0, 0.1, long) * box(np.abs(x), plan.road - 2.1, plan.road, wide)
        marks = dashes + 0.8 * parking + 0.8 * bays
        if plan.crossing is None:
            return marks
        start, end = plan.crossing
        marks = marks * (1 - box(z, start - 7.5, end + 4, long))
        for zebra in plan.zebras:
            stripes = pulse(x, 1.0, 0, 0.5, wide) * box(np.abs(x), -1, plan.road - 0.3, wide)
            marks = marks + stripes * box(z, *zebra, long)
        stop = box(z, start - 6.2, start - 5.7, long) * box(x, 0.1, plan.road - 2.1, wide)
        return marks + stop
