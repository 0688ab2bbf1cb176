"""Who and what is in the street, and where it is at any second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import numpy as np

from mmdyn.datasets.street.cyclists import Cyclist
from mmdyn.datasets.street.figures import TOPS, Look
from mmdyn.datasets.street.furniture import Lamp, Railing, Sign, TrafficLight
from mmdyn.datasets.street.ground import StreetPlan
from mmdyn.datasets.street.light import Light
from mmdyn.datasets.street.thing import Thing
from mmdyn.datasets.street.trees import Tree, TreeSprite
from mmdyn.datasets.street.vehicle_shapes import BUS_SHAPE, CAR_SHAPES, PAINTS, VAN
from mmdyn.datasets.street.vehicles import Vehicle
from mmdyn.datasets.street.walkers import Walker

Actor = Callable[[float], Thing]  # seconds -> the thing as it is then


def populate(
    rng: np.random.Generator,
    plan: StreetPlan,
    light: Light,
    length: float,
    speed: float,
    seconds: float,
) -> list[Actor]:
    """Everything that stands or moves in a street.

    Args:
        rng (np.random.Generator): Draws it.
        plan (StreetPlan): The street.
        light (Light): Lights the trees, which are drawn beforehand.
        length (float): Metres of street that are filled.
        speed (float): The camera's, metres a second; 0 means it waits at the crossing.
        seconds (float): How long the clip lasts.

    Returns:
        list: Functions from seconds to a thing (a ``Thing``).
    """
    number = count(1)
    actors = _greenery(rng, plan, light, length) + _furniture(rng, plan, length, bool(speed))
    actors += _parked(rng, plan, length, number)
    actors += _driving(rng, plan, length, speed, number)
    if plan.crossing and not speed:
        actors += _crossing_traffic(rng, plan, seconds, number)
    actors += _walkers(rng, plan, length, speed, number)
    actors += _cyclists(rng, plan, speed, seconds, number)
    return actors


def _still(thing) -> Actor:
    return lambda seconds: thing


def _rolling(vehicle: Vehicle, speed: float, start: float = 0.0) -> Actor:
    """A vehicle that drives where it points; until ``start`` it stands."""
    x, _, z = vehicle.position
    ahead = np.array([np.sin(vehicle.heading), np.cos(vehicle.heading)])

    def at(seconds: float) -> Vehicle:
        way = speed * max(seconds - start, 0.0)
        place = (x + ahead[0] * way, 0.0, z + ahead[1] * way)
        return replace(vehicle, position=place, rolled=way)

    return at


def _clear(plan: StreetPlan, z: float, margin: float = 6.0) -> bool:
    """Whether z is not at the crossing."""
    return plan.crossing is None or not plan.crossing[0] - margin < z < plan.crossing[1] + margin


def _car(rng, number, x, z, heading, large: float = 0.12) -> Vehicle:
    shape = VAN if rng.random() < large else CAR_SHAPES[rng.integers(len(CAR_SHAPES))]
    paint = PAINTS[0] if shape is VAN and rng.random() < 0.6 else PAINTS[rng.integers(len(PAINTS))]
    return Vehicle(shape, paint, (float(x), 0.0, float(z)), heading, next(number))


def _greenery(rng, plan, light, length) -> list[Actor]:
    trees = [TreeSprite(rng, light) for _ in range(3)]
    bushes = [TreeSprite(rng, light, trunk=0.0) for _ in range(2)]
    actors, line = [], plan.road + 0.75
    step = float(rng.uniform(8, 15))
    for side in (-1, 1):
        leafy = rng.random() < 0.75
        for z in np.arange(5 + rng.uniform(0, 5), length, step):
            if not leafy or not _clear(plan, z, 7.0) or rng.random() < 0.15:
                continue
            place = (side * (line + rng.uniform(0, 0.3)), 0.0, float(z + rng.uniform(-1, 1)))
            tall = float(rng.uniform(5.5, 8.5))
            sprite = trees[rng.integers(len(trees))]
            actors.append(_still(Tree(sprite, place, tall, bool(rng.random() < 0.5), tall * 0.22)))
        for z in np.arange(8, length, 5.0):
            if plan.grass and _clear(plan, z, 5.0) and rng.random() < 0.4:
                x = side * (plan.houses - rng.uniform(0.5, max(plan.grass - 0.5, 0.6)))
                sprite = bushes[rng.integers(len(bushes))]
                tall = float(rng.uniform(0.9, 1.7))
                place = (float(x), 0.0, float(z + rng.uniform(-2, 2)))
                actors.append(_still(Tree(sprite, place, tall, bool(rng.random() < 0.5), 0.5)))
    return actors


def _furniture(rng, plan, length, moving) -> list[Actor]:
    actors, kerb = [], plan.road + 0.5
    for side in (-1, 1):
        for z in np.arange(14 + 13 * (side > 0), length, 27.0):
            if _clear(plan, z, 2.0):
                actors.append(_still(Lamp((side * kerb, 0.0, float(z)))))
        for z in np.arange(rng.uniform(9, 16), length, 17.0):
            if _clear(plan, z, 5.0) and rng.random() < 0.75:
                kind = str(rng.choice([k for k in Sign.KINDS if k != "stop"]))
                actors.append(_still(Sign((side * (kerb + 0.15), 0.0, float(z)), kind)))
        for z in np.arange(4.0, length, 4.0):
            near = plan.crossing and plan.crossing[0] - 13 < z < plan.crossing[0] - 8
            fenced = near or (side < 0 and int(z / 40) % 3 == 2)
            if fenced and _clear(plan, z, 4.0) and _clear(plan, z + 4, 4.0):
                actors.append(_still(Railing((side * (plan.road + 0.3), 0.0, float(z)))))
    if plan.crossing:
        start, end = plan.crossing
        state = 2 if moving else 0
        lights = [(kerb, start - 5.2), (-kerb, end + 1.0), (kerb, end + 1.5)]
        actors += [_still(TrafficLight((x, 0.0, z), state)) for x, z in lights]
        actors.append(_still(Sign((kerb + 0.9, 0.0, end + 2.0), "stop")))
    return actors


def _parked(rng, plan, length, number) -> list[Actor]:
    actors = []
    for side in (-1, 1):
        share = rng.uniform(0.35, 0.75)
        for z in np.arange(3.0, length, 6.0):
            if rng.random() < share and _clear(plan, z, 11.0):
                x = side * (plan.road - 1.08 + rng.uniform(-0.08, 0.08))
                heading = (0.0 if side > 0 else np.pi) + rng.normal(0, 0.012)
                car = _car(rng, number, x, z + rng.uniform(-0.4, 0.4), heading)
                actors.append(_still(car))
    return actors


def _driving(rng, plan, length, speed, number) -> list[Actor]:
    actors = []
    if not speed:  # red light: they wait on the other side of the crossing
        z = plan.crossing[1] + 7.5
        for _ in range(int(rng.integers(1, 4))):
            actors.append(_still(_car(rng, number, -plan.lane, z, np.pi)))
            z += rng.uniform(6.3, 7.5)
        return actors
    if rng.random() < 0.75:
        lead = _car(rng, number, plan.lane, rng.uniform(15, 26), 0.0)
        lead = replace(lead, braking=bool(rng.random() < 0.4))
        actors.append(_rolling(lead, speed * rng.uniform(0.85, 1.08)))
    z = rng.uniform(18, 40)
    while z < length + 60:
        if rng.random() < 0.14:
            bus = Vehicle(BUS_SHAPE, (214, 172, 44), (-plan.lane, 0.0, z + 4), np.pi, next(number))
            actors.append(_rolling(bus, speed * 0.9))
            z += 10
        else:
            actors.append(_rolling(_car(rng, number, -plan.lane, z, np.pi), speed * 0.9))
        z += rng.uniform(12, 34)
    return actors


def _crossing_traffic(rng, plan, seconds, number) -> list[Actor]:
    actors, (start, end) = [], plan.crossing
    lane = (end - start) / 4
    for direction in (-1, 1):
        pace = float(rng.uniform(5.5, 8.5))
        z = start + lane if direction > 0 else end - lane
        x = rng.uniform(-14, 6)
        while x > -pace * seconds - 20:
            heading = direction * np.pi / 2
            place = (direction * float(x), 0.0, float(z))
            if rng.random() < 0.13:
                x -= 7
                place = (direction * float(x), 0.0, float(z))
                vehicle = Vehicle(BUS_SHAPE, (196, 44, 40), place, heading, next(number))
                x -= 5
            else:
                vehicle = _car(rng, number, place[0], z, heading)
            actors.append(_rolling(vehicle, pace))
            x -= rng.uniform(8, 22)
    return actors


def _walkers(rng, plan, length, speed, number) -> list[Actor]:
    actors = []
    for z in np.arange(4.0, min(length, 95 + speed * 10), 3.4):
        for side in (-1, 1):
            if rng.random() > 0.42:
                continue
            x = side * rng.uniform(plan.road + 1.3, plan.road + plan.pavement - 0.3)
            heading = float(rng.choice([0.0, np.pi]) + rng.normal(0, 0.06))
            pace = float(rng.uniform(1.0, 1.7)) if rng.random() > 0.15 else 0.0
            if not pace:
                heading = float(rng.uniform(0, 2 * np.pi))
            where = (float(x), 0.0, float(z + rng.uniform(-1.5, 1.5)))
            actors.append(_walking(Look.draw(rng), where, heading, pace, rng, number))
            if rng.random() < 0.3:
                beside = (where[0] + 0.62 * side, 0.0, where[2] + 0.15)
                actors.append(_walking(Look.draw(rng), beside, heading, pace, rng, number))
    if plan.crossing and not speed:
        for low, high in plan.zebras:
            for _ in range(int(rng.integers(3, 7))):
                side = int(rng.choice([-1, 1]))
                where = (side * rng.uniform(-4.0, 9.5), 0.0, rng.uniform(low + 0.4, high - 0.4))
                pace = float(rng.uniform(1.1, 1.6))
                looks = Look.draw(rng)
                actors.append(_walking(looks, where, -side * np.pi / 2, pace, rng, number))
    return actors


def _walking(look, where, heading, pace, rng, number) -> Actor:
    stride, instance = float(rng.uniform(0.1, 1.4)), next(number)

    def at(seconds: float) -> Walker:
        way = pace * seconds
        place = (where[0] + np.sin(heading) * way, 0.0, where[2] + np.cos(heading) * way)
        return Walker(look, place, heading, (stride + way) if pace else 0.0, instance)

    return at


def _cyclists(rng, plan, speed, seconds, number) -> list[Actor]:
    actors, edge = [], plan.road - 2.55
    for side, heading in ((1, 0.0), (-1, np.pi)):
        for z in np.arange(9, 90, 26.0):
            if rng.random() < 0.5 and (speed or _clear(plan, z, 9.0)):
                pace = float(rng.uniform(3.8, 5.2)) if speed or side < 0 else 0.0
                x = side * (edge + 0.15)
                where = (x, 0.0, float(z + rng.uniform(-4, 4)))
                if not speed:  # those behind the crossing wait, the others have left it
                    where = (x, 0.0, plan.crossing[1] + 12 + float(z) / 3)
                    pace = 0.0 if side < 0 else 4.2
                actors.append(_riding(rng, where, heading, pace, number))
        for z in np.arange(6, 70, 9.0):
            if rng.random() < 0.3 and _clear(plan, z, 6.0):
                where = (side * (plan.road + plan.pavement - 0.25), 0.0, float(z))
                actors.append(_riding(rng, where, float(rng.normal(0, 0.2)), None, number))
    if plan.crossing and not speed:
        middle = sum(plan.crossing) / 2 - 3.4
        where = (-rng.uniform(2, 9), 0.0, middle)
        actors.append(_riding(rng, where, np.pi / 2, float(rng.uniform(3.5, 4.6)), number))
    return actors


def _riding(rng, where, heading, pace, number) -> Actor:
    """``pace`` is None for a parked bicycle."""
    look, colour = replace(Look.draw(rng), height=1.75), TOPS[rng.integers(len(TOPS))]
    instance, turned = next(number), float(rng.uniform(0, 5))
    if pace is not None:
        next(number)

    def at(seconds: float) -> Cyclist:
        way = (pace or 0.0) * seconds
        place = (where[0] + np.sin(heading) * way, 0.0, where[2] + np.cos(heading) * way)
        return Cyclist(look, colour, place, heading, turned + way, instance, pace is not None)

    return at
