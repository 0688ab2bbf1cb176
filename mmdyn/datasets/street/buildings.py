"""Rows of houses with windows, shops and cornices, and the walls and hedges in their gaps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mmdyn.datasets.street.canvas import Canvas
from mmdyn.datasets.street.geometry import Camera
from mmdyn.datasets.street.ground import StreetPlan
from mmdyn.datasets.street.labels import BUILDING, VEGETATION, WALL
from mmdyn.datasets.street.light import SHADE, Light
from mmdyn.datasets.street.texture import Noise, box, hashed, mix, pulse, smooth

WALLS = {
    "brick": [(150, 88, 70), (128, 78, 64), (172, 122, 88), (140, 100, 84)],
    "stucco": [(214, 200, 170), (222, 214, 200), (196, 178, 148), (202, 196, 190), (208, 180, 160)],
    "modern": [(168, 170, 172), (128, 132, 138), (206, 206, 202), (112, 108, 106)],
}
FASCIAS = [(150, 40, 44), (36, 72, 110), (40, 92, 66), (214, 168, 60), (64, 60, 62), (180, 96, 40)]


@dataclass(frozen=True)
class House:
    """One house (or garden wall, or hedge) of a row.

    Args:
        side (int): -1 left, 1 right of the street.
        start (float): z of the near end in metres.
        end (float): z of the far end.
        setback (float): Distance of its front from the street's middle.
        front (float): Metres of its near end that show beside the house before it.
        floors (int): Storeys above the ground floor; 0 for walls and hedges.
        style (str): 'brick', 'stucco', 'modern', 'wall' or 'hedge'.
        wall (tuple): RGB of the wall.
        fascia (tuple | None): RGB of the shop's sign; None for a house without a shop.
        bay (float): Metres from window to window.
        seed (int): Tells the windows of different houses apart.
    """

    side: int
    start: float
    end: float
    setback: float
    front: float
    floors: int
    style: str
    wall: tuple[float, float, float]
    fascia: tuple[float, float, float] | None
    bay: float
    seed: int

    @property
    def height(self) -> float:
        """Metres from the ground to the top."""
        if self.style in ("wall", "hedge"):
            return 1.9 if self.style == "wall" else 2.3
        return 3.8 + 3.1 * self.floors + 0.9

    @property
    def label(self) -> int:
        """Its trainId."""
        return {"wall": WALL, "hedge": VEGETATION}.get(self.style, BUILDING)

    @classmethod
    def draw(cls, rng, side: int, start: float, end: float, setback: float, front: float) -> House:
        """A house like its neighbours and yet unlike them."""
        style = str(rng.choice(["brick", "stucco", "stucco", "modern"]))
        wall = np.array(WALLS[style][rng.integers(len(WALLS[style]))]) + rng.uniform(-10, 10, 3)
        fascia = FASCIAS[rng.integers(len(FASCIAS))] if rng.random() < 0.55 else None
        bays = max(2, round((end - start) / rng.uniform(2.5, 3.4)))
        floors = int(rng.integers(2, 6))
        return cls(
            side, start, end, setback, front, floors, style, tuple(wall.tolist()), fascia,
            (end - start) / bays, int(rng.integers(1 << 20)),
        )  # fmt: skip

    def paint(self, canvas: Canvas, camera: Camera, light: Light, noise: Noise) -> None:
        """Paints the wall that faces the camera's end of the street, then the front."""
        x, far = self.side * self.setback, self.side * (self.setback + self.front)
        if self.front and camera.position[2] < self.start - 0.3:
            corners = np.array([[x, 0, self.start], [far, 0, self.start]])
            self._face(canvas, camera, light, noise, corners, across=0, at=self.start)
        corners = np.array([[x, 0, self.start], [x, 0, self.end]])
        self._face(canvas, camera, light, noise, corners, across=2, at=x)

    def _face(self, canvas, camera, light, noise, corners, across: int, at: float) -> None:
        """One wall: ``across`` is the axis that runs along it (0 is x, 2 is z)."""
        top = corners[::-1] + (0, self.height, 0)
        outline = camera.polygon(np.concatenate([corners, top]))
        region = canvas.region(outline)
        if region is None:
            return
        rays = camera.rays(region)
        through = rays[2 - across]
        through = np.where(np.abs(through) < 1e-4, 1e-4, through)
        depth = np.clip((at - camera.position[2 - across]) / through, 0.1, 600)
        along = camera.position[across] + rays[across] * depth - float(corners[:, across].min())
        y = camera.position[1] + rays[1] * depth
        tall = depth / camera.focal
        wide = np.minimum(tall * (1 + np.abs(rays[across] / through)), 40.0)
        if self.style == "hedge":
            colour = self._hedge(along, y, tall, noise)
        elif self.style == "wall":
            colour = self._garden_wall(along, y, wide, tall, noise)
        else:
            colour = self._front(along, y, wide, tall, noise)
        normal = (-self.side, 0, 0) if across == 2 else (0, 0, -1)
        sunlit = light.facing(normal)
        colour = colour * (SHADE * 1.35 if sunlit < 0.6 else sunlit)
        colour = colour * (0.84 + 0.16 * smooth(y, 0.0, 3.0))[..., None]
        colour = light.haze(colour, depth)
        canvas.paint(region, canvas.coverage(outline, region), colour, self.label)

    def _hedge(self, along, y, tall, noise):
        leaf = noise.at(along, y, 1.9) * np.clip(1.3 - 8 * tall, 0.2, 1)
        return mix((40, 62, 30), (108, 136, 66), smooth(leaf + 0.25 * (y - 1), -0.9, 1.0))

    def _garden_wall(self, along, y, wide, tall, noise):
        courses = pulse(y, 0.28, 0, 0.03, tall)
        posts = pulse(along, 3.0, 0, 0.4, wide)
        cap = box(y, self.height - 0.14, self.height, tall)
        tone = (
            np.asarray(self.wall, np.float32) * (0.92 + 0.08 * noise.at(along, y, 5.0))[..., None]
        )
        tone = tone * (1 - 0.2 * courses[..., None] + 0.10 * posts[..., None])
        return mix(tone, (198, 192, 180), cap)

    def _front(self, along, y, wide, tall, noise):
        """Colours (h, w, 3) of a wall at (along, y); pixels are ``wide`` x ``tall`` metres."""
        wall = np.asarray(self.wall, np.float32) * (1 + 0.05 * noise.at(along, y, 9.0))[..., None]
        if self.style == "brick":
            wall = wall * (1 - 0.16 * pulse(y, 0.16, 0, 0.03, tall))[..., None]
        roof = self.height - 0.9
        upper = y - 3.8
        cornice = box(y, self.height - 0.35, self.height, tall)
        ledge = box(y, 3.45, 3.8, tall) + box(y, roof, roof + 0.12, tall)
        wall = mix(wall, np.clip(np.asarray(self.wall) * 1.25 + 10, 0, 240), np.clip(ledge, 0, 1))
        wall = mix(wall, np.asarray(self.wall) * 0.62, cornice)
        wall = mix(wall, np.asarray(self.wall) * 0.72, box(y, roof - 0.25, roof, tall))
        modern = self.style == "modern"
        half = self.bay * (0.43 if modern else 0.21)
        window = (self.bay / 2 - half, self.bay / 2 + half, 0.9, 2.7 if modern else 2.55)
        storey = box(y, 3.8, roof - 0.25, tall)
        colour = self._windows(wall, along, upper, wide, tall, window, 3.1, storey)
        return self._ground_floor(colour, along, y, wide, tall)

    def _windows(self, wall, along, y, wide, tall, window, floor, where):
        """Glass with curtains, frame, sill and lintel in every bay (metres) of every floor."""
        left, right, low, high = window
        number = hashed(np.floor(along / self.bay), np.floor(y / floor) + 7, self.seed)
        near = np.clip(1.6 - wide / self.bay * 2, 0, 1)
        number = 0.5 + (number - 0.5) * near
        inside = np.clip((np.mod(y, floor) - low) / (high - low), 0, 1)
        glass = mix((58, 68, 80), (126, 146, 164), smooth(inside + number - 0.6, 0, 1))
        curtain = smooth(number, 0.62, 0.66) * box(np.mod(along, self.bay), left, left + 0.35, wide)
        glass = mix(glass, (206, 200, 188), curtain * near)
        glass = mix(glass, (226, 196, 132), smooth(number, 0.95, 0.96) * 0.6)

        def opening(grow):
            columns = pulse(along, self.bay, left - grow, right + grow, wide)
            return columns * pulse(y, floor, low - grow, high + grow, tall) * where

        sill = pulse(along, self.bay, left - 0.15, right + 0.15, wide)
        sill = sill * pulse(y, floor, low - 0.2, low - 0.06, tall) * where
        middle = (left + right) / 2
        bars = pulse(along, self.bay, middle - 0.035, middle + 0.035, wide)
        bars = np.maximum(bars, pulse(y, floor, high - 0.62, high - 0.56, tall))
        lintel = pulse(y, floor, high - 0.16, high, tall)
        frame = (62, 64, 66) if self.style == "modern" else (224, 222, 214)
        colour = mix(wall, frame, opening(0.09))
        colour = mix(colour, mix(glass, frame, bars) * (1 - 0.45 * lintel[..., None]), opening(0.0))
        return mix(colour, np.clip(np.asarray(self.wall) * 1.2 + 14, 0, 235), sill)

    def _ground_floor(self, colour, along, y, wide, tall):
        floor = box(y, 0, 3.45, tall)
        if self.fascia is None:
            plinth = np.asarray(self.wall, np.float32) * 0.66
            colour = mix(colour, plinth, box(y, 0, 0.55, tall))
            half = self.bay * 0.21
            window = (self.bay / 2 - half, self.bay / 2 + half, 1.0, 2.7)
            plain = self._windows(colour, along, y, wide, tall, window, 30.0, floor)
            door = box(np.mod(along, 4 * self.bay), self.bay * 0.25, self.bay * 0.75, wide)
            door_tone = (70 + 40 * (self.seed % 3), 58, 50 + 30 * (self.seed % 2))
            return mix(plain, door_tone, door * box(y, 0, 2.55, tall))
        window = (0.22, self.bay - 0.22, 0.45, 2.55)
        shop = self._windows(colour, along, y, wide, tall, window, 30.0, floor)
        sign = box(y, 2.75, 3.4, tall)
        shop = mix(shop, self.fascia, sign)
        letters = pulse(along, 0.42, 0.06, 0.3, wide) * box(y, 2.93, 3.22, tall)
        letters = letters * pulse(along, self.bay * 2, self.bay * 0.5, self.bay * 1.5, wide)
        shop = mix(shop, (240, 236, 222), letters * 0.85)
        awning = box(y, 2.35, 2.78, tall) * (hashed(np.floor(along / self.bay), self.seed) > 0.5)
        stripes = mix(self.fascia, (236, 230, 220), pulse(along, 0.5, 0, 0.25, wide))
        return mix(shop, stripes, awning)


def draw_row(rng: np.random.Generator, plan: StreetPlan, side: int, length: float) -> list[House]:
    """Houses on one side from behind the camera to ``length`` metres, with a gap at a crossing."""
    houses: list[House] = []
    z, (start, end) = -14.0, plan.crossing or (1e9, 1e9)
    while z < length:
        if start - 6 < z < end:
            z = end + rng.uniform(0.5, 2.0)
        to = z + rng.uniform(9, 19)
        if z < start < to + 6:
            to = start - 0.8
        corner = end < z < end + 3
        setback = plan.houses + float(rng.uniform(0, 0.6))
        house = House.draw(rng, side, float(z), float(to), setback, 70.0 if corner else 14.0)
        if rng.random() < 0.16 and not corner and to < start - 3:
            kind = str(rng.choice(["wall", "hedge"]))
            house = replace(house, style=kind, wall=(168, 150, 132), fascia=None, bay=3.0)
        if houses and houses[-1].end == house.start and houses[-1].height >= house.height:
            house = replace(house, front=max(houses[-1].setback - house.setback, 0.0))
        houses.append(house)
        z = house.end + (float(rng.uniform(0.3, 1.5)) if rng.random() < 0.2 else 0.0)
    return houses
