"""Side profiles of vehicles, in metres: z ahead from the rear bumper, y up, half widths."""

from __future__ import annotations

from dataclasses import dataclass

from mmdyn.datasets.street.labels import BUS, CAR, TRUCK


@dataclass(frozen=True)
class VehicleShape:
    """An outline swept across the vehicle's width.

    Args:
        label (int): trainId.
        profile (tuple): (z, y, half width, material) from the rear bumper's lower edge over the
            roof to the front's; the material ('body', 'glass', 'dark') is that of the panel from
            this point to the next.
        belt (tuple): Indices of the four profile points around the side windows: rear belt, rear
            roof, front roof, front belt.
        pillars (tuple): Places of the window pillars along the belt, 0 rear to 1 front.
        wheels (tuple): z of the axles.
        wheel_radius (float): Metres.
        tail (int): Panel that carries the rear lights.
        nose (int): Panel that carries the head lights.
    """

    label: int
    profile: tuple[tuple[float, float, float, str], ...]
    belt: tuple[int, int, int, int]
    pillars: tuple[float, ...]
    wheels: tuple[float, ...]
    wheel_radius: float
    tail: int
    nose: int

    @property
    def length(self) -> float:
        """Metres from bumper to bumper."""
        return max(point[0] for point in self.profile)

    @property
    def width(self) -> float:
        """Metres at the widest."""
        return 2 * max(point[2] for point in self.profile)

    @property
    def height(self) -> float:
        """Metres from the ground to the roof."""
        return max(point[1] for point in self.profile)


HATCHBACK = VehicleShape(
    CAR,
    ((0.02, 0.26, 0.84, "dark"), (0.0, 0.56, 0.88, "body"), (0.10, 0.96, 0.87, "glass"),
     (0.48, 1.38, 0.66, "body"), (0.85, 1.47, 0.64, "body"), (2.05, 1.48, 0.63, "glass"),
     (2.95, 1.0, 0.82, "body"), (3.82, 0.82, 0.80, "body"), (4.0, 0.56, 0.84, "dark"),
     (3.98, 0.24, 0.82, "dark")),
    (2, 3, 5, 6), (0.16, 0.5), (0.75, 3.2), 0.31, 1, 7,
)  # fmt: skip

SALOON = VehicleShape(
    CAR,
    ((0.02, 0.26, 0.86, "dark"), (0.0, 0.58, 0.9, "body"), (0.06, 0.98, 0.86, "body"),
     (0.72, 1.04, 0.84, "glass"), (1.32, 1.38, 0.64, "body"), (1.6, 1.43, 0.62, "body"),
     (2.5, 1.44, 0.62, "glass"), (3.3, 0.99, 0.83, "body"), (4.4, 0.80, 0.8, "body"),
     (4.6, 0.55, 0.84, "dark"), (4.57, 0.24, 0.82, "dark")),
    (3, 4, 6, 7), (0.2, 0.5), (0.95, 3.7), 0.32, 1, 8,
)  # fmt: skip

ESTATE = VehicleShape(
    CAR,
    ((0.02, 0.3, 0.88, "dark"), (0.0, 0.62, 0.92, "body"), (0.08, 1.06, 0.9, "glass"),
     (0.36, 1.56, 0.72, "body"), (0.7, 1.66, 0.7, "body"), (2.5, 1.67, 0.69, "glass"),
     (3.3, 1.12, 0.87, "body"), (4.35, 0.95, 0.86, "body"), (4.55, 0.62, 0.88, "dark"),
     (4.52, 0.28, 0.86, "dark")),
    (2, 3, 5, 6), (0.25, 0.55), (0.9, 3.65), 0.36, 1, 7,
)  # fmt: skip

VAN = VehicleShape(
    TRUCK,
    ((0.02, 0.32, 0.96, "dark"), (0.0, 0.66, 0.99, "body"), (0.0, 1.25, 0.99, "body"),
     (0.08, 2.3, 0.9, "body"), (0.3, 2.4, 0.88, "body"), (3.55, 2.38, 0.87, "glass"),
     (4.35, 1.3, 0.95, "body"), (5.1, 1.08, 0.93, "body"), (5.3, 0.66, 0.95, "dark"),
     (5.28, 0.3, 0.93, "dark")),
    (4, 4, 5, 6), (), (0.95, 4.35), 0.36, 1, 7,
)  # fmt: skip

BUS_SHAPE = VehicleShape(
    BUS,
    ((0.02, 0.34, 1.24, "dark"), (0.0, 0.6, 1.26, "body"), (0.0, 1.2, 1.26, "glass"),
     (0.1, 2.5, 1.24, "body"), (0.2, 3.0, 1.2, "body"), (11.5, 3.0, 1.2, "body"),
     (11.75, 2.75, 1.22, "glass"), (11.9, 1.0, 1.25, "body"), (11.95, 0.6, 1.26, "dark"),
     (11.9, 0.34, 1.25, "dark")),
    (2, 3, 6, 7), (0.13, 0.26, 0.39, 0.52, 0.65, 0.78, 0.9), (2.6, 9.0), 0.48, 1, 7,
)  # fmt: skip

CAR_SHAPES = (HATCHBACK, SALOON, ESTATE)

PAINTS = (
    (226, 228, 230), (30, 32, 36), (160, 164, 170), (110, 114, 120), (150, 24, 30),
    (38, 72, 130), (60, 96, 150), (34, 76, 60), (196, 184, 156), (188, 92, 38), (232, 232, 224),
)  # fmt: skip
