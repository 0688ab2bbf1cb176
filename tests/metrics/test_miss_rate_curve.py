"""Hand-computed miss rates, and the fast computation against a slow one on random detections."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdyn.metrics.miss_rate_curve import (
    FPPI,
    SUBSETS,
    Found,
    Subset,
    Truth,
    log_average,
    match,
    miss_rates,
)
from mmdyn.metrics.miss_rate_files import NOTHING, read_found, read_truths
from tests.metrics.slow_miss_rate import LIMITS, slow_miss_rate

REASONABLE = SUBSETS["Reasonable"]
BOX = (10.0, 10.0, 40.0, 100.0)


def people(*boxes, visible=1.0, ignored=()) -> Truth:
    boxes = np.array(boxes, float).reshape(-1, 4)
    flags = np.array([k in ignored for k in range(len(boxes))], bool)
    return Truth(boxes, boxes[:, 3].copy(), np.full(len(boxes), visible), flags)


def found(*boxes, scores=None) -> Found:
    scores = np.linspace(0.9, 0.5, len(boxes)) if scores is None else np.array(scores, float)
    return Found.best(np.array(boxes, float).reshape(-1, 4), scores, 1000)


def moved(x: float = 0.0, y: float = 0.0, box=BOX):
    return (box[0] + x, box[1] + y, *box[2:])


def reasonable(*images) -> float:
    return miss_rates(images, {"Reasonable": REASONABLE})["Reasonable"].value


def test_half_of_the_people_found_and_nothing_else_is_a_miss_rate_of_a_half():
    assert reasonable((people(BOX, moved(200)), found(BOX))) == pytest.approx(0.5)


def test_everybody_found_is_zero_and_gives_no_warning():
    with np.errstate(all="raise"):
        assert reasonable((people(BOX), found(BOX))) == 0.0
        assert log_average(np.array([0.0] * 8 + [0.5])) == 0.0


def test_no_detections_miss_everybody():
    assert reasonable((people(BOX), NOTHING)) == 1.0


def test_nobody_to_find_is_not_a_number():
    assert math.isnan(reasonable((people(), found(BOX))))
    assert math.isnan(reasonable())
    assert math.isnan(reasonable((people(BOX, ignored=(0,)), NOTHING)))


def test_points_are_read_at_the_last_detection_within_the_false_positives():
    # Of 10 images one has two people; the second is found after one false positive (0.1 an image).
    images = [(people(BOX, moved(200)), found(BOX, moved(500), moved(200), scores=(0.9, 0.8, 0.7)))]
    images += [(people(), NOTHING)] * 9
    result = miss_rates(images, {"Reasonable": REASONABLE})["Reasonable"]
    np.testing.assert_allclose(result.missed, np.where(FPPI < 0.1, 0.5, 0.0))
    # 0.0562 and 1/20 more: at 20 images the false positive is 0.05 an image.
    images += [(people(), NOTHING)] * 10
    result = miss_rates(images, {"Reasonable": REASONABLE})["Reasonable"]
    np.testing.assert_allclose(result.missed, np.where(FPPI < 0.05, 0.5, 0.0))


def test_points_before_the_first_detection_are_read_at_the_very_last():
    # The first of three images' detections is wrong: 1/3 an image, more than seven points allow.
    images = [
        (people(BOX, moved(200)), found(moved(500), BOX, scores=(0.9, 0.8))),
        (people(), NOTHING),
        (people(), NOTHING),
    ]
    assert reasonable(*images) == pytest.approx(0.5)


def test_a_second_detection_of_a_person_is_wrong():
    scores, hits, count = match(people(BOX), found(BOX, moved(1)), REASONABLE)
    assert hits.tolist() == [True, False] and count == 1 and len(scores) == 2


def test_the_best_detection_chooses_whom_it_overlaps_most():
    truth = people(BOX, moved(10))
    assert match(truth, found(moved(8), moved(11)), REASONABLE)[1].tolist() == [True, True]
    # The first takes the second person, for whom the second one would have been better.
    assert match(truth, found(moved(6), moved(30)), REASONABLE)[1].tolist() == [True, False]


def test_an_overlap_of_exactly_a_half_is_a_hit():
    half = (10.0, 10.0, 40.0, 50.0)
    assert match(people(BOX), found(half), REASONABLE)[1].tolist() == [True]
    assert match(people(BOX), found((10.0, 10.0, 40.0, 49.9)), REASONABLE)[1].tolist() == [False]


def test_any_number_of_detections_may_lie_in_somebody_ignored():
    crowd = (0.0, 0.0, 400.0, 400.0)
    truth = people(BOX, crowd, ignored=(1,))
    inside = [moved(100), moved(150), moved(200, 150)]
    scores, hits, count = match(truth, found(BOX, *inside), REASONABLE)
    assert hits.tolist() == [True] and count == 1
    # Half of the detection must be covered: 250 of 500 px of height here, 240 there.
    tall = (100.0, 150.0, 40.0, 500.0)
    assert len(match(truth, found(tall), REASONABLE)[0]) == 0
    assert len(match(truth, found((100.0, 160.0, 40.0, 500.0)), REASONABLE)[0]) == 1


def test_a_person_comes_before_the_ignored_one_that_covers_it():
    truth = people((0.0, 0.0, 400.0, 400.0), BOX, ignored=(0,))
    assert match(truth, found(BOX), REASONABLE)[1].tolist() == [True]


def test_heights_and_visibility_at_their_limits_belong_to_a_subset():
    small = SUBSETS["Small"]
    for height, inside in ((49.9, False), (50, True), (75, True), (75.1, False)):
        assert match(people((0, 0, 20, height)), NOTHING, small)[2] == int(inside)
    for visible, inside in ((0.64, False), (0.65, True), (0.9, True), (0.91, False)):
        truth = people(BOX, visible=visible)
        assert match(truth, NOTHING, SUBSETS["Partial"])[2] == int(inside)
    assert match(people(BOX, visible=0.65), NOTHING, SUBSETS["Heavy"])[2] == 1


def test_detections_far_out_of_the_heights_do_not_count():
    small = Subset((50, 75), (0, 1))
    for height, counts in ((39.9, False), (40, True), (93.7, True), (93.75, False)):
        assert len(match(people(), found((0, 0, 20, height)), small)[0]) == int(counts)


def test_only_the_best_detections_of_an_image_are_kept():
    best = Found.best(np.array([BOX] * 3), np.array([0.1, 0.9, 0.9]), 2)
    assert best.scores.tolist() == [0.9, 0.9]


def test_limits_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="least"):
        Subset((75, 50), (0, 1))


def random_case(seed: int) -> tuple[dict, list[dict]]:
    """Crowded images with detections near people; boxes and scores on a grid, so that ties and
    overlaps of exactly a half occur."""
    rng = np.random.default_rng(seed)
    images = int(rng.integers(1, 40))
    truth = dict(
        images=[dict(id=int(k)) for k in rng.permutation(images) * 3 + 1],
        categories=[dict(id=1, name="pedestrian")],
        annotations=[],
    )
    results = []
    for image in truth["images"]:
        for _ in range(rng.integers(0, 8)):
            height = float(rng.choice([18, 20, 40, 50, 60, 75, 76, 100, 200]))
            box = [float(rng.integers(0, 120)), float(rng.integers(0, 60)), height / 2, height]
            truth["annotations"].append(
                dict(
                    id=len(truth["annotations"]) + 1, image_id=image["id"], category_id=1,
                    bbox=box, height=height, ignore=int(rng.random() < 0.2),
                    vis_ratio=float(rng.choice([0.1, 0.2, 0.5, 0.65, 0.8, 0.9, 1.0])),
                )
            )  # fmt: skip
            for _ in range(rng.integers(0, 4)):
                near = np.array(box) + rng.integers(-6, 7, 4) * rng.choice([0.0, 1.0, 2.5])
                results.append(dict(bbox=[*near[:2], *np.maximum(near[2:], 1.0)]))
                results[-1].update(image_id=image["id"])
        for _ in range(rng.integers(0, 3)):
            box = rng.integers(10, 100, 4).astype(float).tolist()
            results.append(dict(bbox=box, image_id=image["id"]))
    for result in results:
        result["bbox"] = [float(x) for x in result["bbox"]]
        result.update(category_id=1, score=float(rng.integers(1, 30)) / 30)
    rng.shuffle(results)
    return truth, results


@pytest.mark.parametrize("seed", range(40))
def test_the_fast_computation_equals_the_slow_one(seed: int):
    truth, results = random_case(seed)
    annotated = read_truths(truth)
    by_image = read_found(results, annotated)
    pairs = [(people, by_image.get(key, NOTHING)) for key, people in annotated.truths.items()]
    for name, fast in miss_rates(pairs).items():
        slow = slow_miss_rate(truth, results, name)
        assert math.isnan(fast.value) if slow is None else abs(fast.value - slow) < 1e-9, name


def test_the_random_cases_are_not_trivial():
    values = []
    for seed in range(40):
        values += [slow_miss_rate(*random_case(seed), name) for name in LIMITS]
    inner = [x for x in values if x is not None and 0.01 < x < 0.99]
    assert len(inner) > 150 and len(set(inner)) > 140


@given(st.lists(st.floats(0.01, 1.0), min_size=9, max_size=9))
def test_the_log_average_lies_between_its_values(missed):
    assert min(missed) - 1e-9 <= log_average(np.array(missed)) <= max(missed) + 1e-9
