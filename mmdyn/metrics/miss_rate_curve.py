"""The log-average miss rate of pedestrian detectors, by CityPersons' rules; NumPy alone.

Written to give what CityPersons' published evaluation gives, to the last digit but for rounding.
Boxes are x, y, width, height in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray

# False positives an image at which the miss rate is read, to four digits as in the evaluation.
FPPI = np.array([0.0100, 0.0178, 0.0316, 0.0562, 0.1000, 0.1778, 0.3162, 0.5623, 1.0000])
# Detections count up to this factor outside of a subset's heights.
HEIGHT_MARGIN = 1.25


@dataclass(frozen=True)
class Subset:
    """Whom a miss rate is about; everybody else is ignored.

    Args:
        height: Least and greatest height in pixels, both included.
        visibility: Least and greatest visible share, both included.
    """

    height: tuple[float, float]
    visibility: tuple[float, float]

    def __post_init__(self) -> None:
        for name in ("height", "visibility"):
            limits = getattr(self, name)
            if len(limits) != 2 or not 0 <= limits[0] <= limits[1]:
                raise ValueError(
                    f"{name} must be (least, greatest) with 0 <= least <= greatest, got {limits}."
                )


_ANY = float("inf")
# The first four are the benchmark's; Bare and Partial are how papers divide Reasonable.
SUBSETS = {
    "Reasonable": Subset((50, _ANY), (0.65, _ANY)),
    "Small": Subset((50, 75), (0.65, _ANY)),
    "Heavy": Subset((50, _ANY), (0.2, 0.65)),
    "All": Subset((20, _ANY), (0.2, _ANY)),
    "Bare": Subset((50, _ANY), (0.9, _ANY)),
    "Partial": Subset((50, _ANY), (0.65, 0.9)),
}


@dataclass
class Truth:
    """The people of one image.

    Args:
        boxes: (G, 4) float64.
        heights: (G,), as annotated.
        visible: (G,), visible share.
        ignored: (G,) bool, ignored in every subset.
    """

    boxes: ndarray
    heights: ndarray
    visible: ndarray
    ignored: ndarray

    def outside(self, subset: Subset) -> ndarray:
        """Who is ignored (G,) when the miss rate of a subset is computed."""
        (low, high), (least, greatest) = subset.height, subset.visibility
        fits = (self.heights >= low) & (self.heights <= high)
        fits &= (self.visible >= least) & (self.visible <= greatest)
        return self.ignored | ~fits


@dataclass
class Found:
    """The detections of one image, sorted by score and cut.

    Args:
        boxes: (D, 4) float64.
        scores: (D,) float64.
    """

    boxes: ndarray
    scores: ndarray

    @classmethod
    def best(cls, boxes: ndarray, scores: ndarray, most: int) -> Found:
        """The ``most`` best; equal scores keep their order."""
        order = np.argsort(-scores, kind="stable")[:most]
        return cls(boxes[order], scores[order])


@dataclass
class MissRate:
    """A subset's result.

    Attributes:
        value: Log-average miss rate, 0 to 1; 0 where one of the points is 0, NaN without people.
        missed: (9,) miss rates at ``FPPI``.
        people: How many are to be found.
        detections: How many counted, neither ignored nor out of the heights.
    """

    value: float
    missed: ndarray
    people: int
    detections: int


def log_average(missed: ndarray) -> float:
    """The geometric mean of miss rates; 0 if one of them is."""
    return 0.0 if (missed <= 0.0).any() else float(np.exp(np.log(missed).mean()))


def match(
    truth: Truth, found: Found, subset: Subset, iou: float = 0.5
) -> tuple[ndarray, ndarray, int]:
    """Which detections of an image hit somebody.

    The best detection chooses first, whom it overlaps most (of equals, the last) and nobody else
    has hit. One that hits nobody, but lies in somebody ignored by at least ``iou`` of its own
    area, does not count; any number may lie in one.

    Returns:
        tuple: Scores (K,) and hits (K,) bool of the detections that count, and the number of
        people to be found.
    """
    low, high = subset.height[0] / HEIGHT_MARGIN, subset.height[1] * HEIGHT_MARGIN
    kept = (found.boxes[:, 3] >= low) & (found.boxes[:, 3] < high)
    boxes, scores = found.boxes[kept], found.scores[kept]
    ignored = truth.outside(subset)
    common = _common_area(boxes, truth.boxes)
    area, whole = boxes[:, 2] * boxes[:, 3], truth.boxes[:, 2] * truth.boxes[:, 3]
    people = common[:, ~ignored]
    overlap = _ratio(people, area[:, None] + whole[~ignored] - people)
    covered = _ratio(
        common[:, ignored], np.broadcast_to(area[:, None], (len(boxes), ignored.sum()))
    )
    hits = _choose(overlap, iou)
    counted = hits | ~(covered >= iou).any(1)
    return scores[counted], hits[counted], overlap.shape[1]


def _choose(overlap: ndarray, iou: float) -> ndarray:
    """(D,) bool: who of the detections, in order, still finds somebody free."""
    hits = np.zeros(len(overlap), bool)
    free = overlap.copy()
    for index in np.flatnonzero((overlap >= iou).any(1)):
        row = free[index]
        best = len(row) - 1 - int(row[::-1].argmax())
        if row[best] >= iou:
            hits[index] = True
            free[:, best] = -1.0
    return hits


def _common_area(a: ndarray, b: ndarray) -> ndarray:
    """Area (A, B) that boxes (A, 4) and (B, 4) share."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    return np.clip(high - low, 0.0, None).prod(-1)


def _ratio(part: ndarray, whole: ndarray) -> ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=part > 0.0)


@dataclass
class _Tally:
    scores: list[ndarray] = field(default_factory=list)
    hits: list[ndarray] = field(default_factory=list)
    people: int = 0


def miss_rates(
    images: Iterable[tuple[Truth, Found]],
    subsets: Mapping[str, Subset] = SUBSETS,
    iou: float = 0.5,
) -> dict[str, MissRate]:
    """The miss rate of each subset.

    Args:
        images: Truth and detections of every image, those without either too; in the order of
            their ids, which decides between equal scores.
        subsets: By name.
        iou: Least overlap of a hit.
    """
    tallies, count = {name: _Tally() for name in subsets}, 0
    for truth, found in images:
        count += 1
        for name, subset in subsets.items():
            scores, hits, people = match(truth, found, subset, iou)
            tallies[name].scores.append(scores)
            tallies[name].hits.append(hits)
            tallies[name].people += people
    return {name: _summary(tally, count) for name, tally in tallies.items()}


def _summary(tally: _Tally, images: int) -> MissRate:
    scores = np.concatenate([np.zeros(0), *tally.scores])
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate([np.zeros(0, bool), *tally.hits])[order]
    if not tally.people:
        return MissRate(float("nan"), np.full(len(FPPI), np.nan), 0, len(hits))
    missed = np.ones(len(FPPI))
    if len(hits):
        recall, fppi = np.cumsum(hits) / tally.people, np.cumsum(~hits) / images
        # The last detection within the allowed false positives. Where there is none, because the
        # first false positive is one too many, CityPersons' evaluation reads the very last.
        place = np.searchsorted(fppi, FPPI, side="right") - 1
        missed = 1.0 - recall[np.where(place < 0, len(recall) - 1, place)]
    return MissRate(log_average(missed), missed, tally.people, len(hits))
