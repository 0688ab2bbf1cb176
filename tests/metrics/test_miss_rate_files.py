"""Lists of detections: what is read, what is left out, what is refused."""

import numpy as np
import pytest

from mmdyn.metrics.miss_rate_files import read_found, read_truths

TRUTH = dict(
    images=[dict(id=1), dict(id=2), dict(id=3, labelled=False)],
    annotations=[],
    categories=[dict(id=1, name="pedestrian"), dict(id=2, name="rider")],
)


def entry(**fields) -> dict:
    return {**dict(image_id=1, category_id=1, bbox=[0, 0, 10, 20], score=0.5), **fields}


def test_detections_are_sorted_cut_and_of_the_category():
    annotated = read_truths(TRUTH)
    entries = [
        entry(),
        entry(score=0.9),
        entry(category_id=2),
        entry(image_id=3),
        entry(score=0.7, bbox=[1, 2, 3, 4]),
    ]
    found = read_found(entries, annotated, max_dets=2)
    assert list(found) == [1] and found[1].scores.tolist() == [0.9, 0.7]
    np.testing.assert_array_equal(found[1].boxes[1], [1, 2, 3, 4])
    assert read_found([], annotated) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        entry(image_id=9),
        entry(score=float("nan")),
        entry(bbox=[1, 2, 3]),
        entry(bbox="box"),
        dict(image_id=1),
        "text",
    ],
)
def test_an_entry_that_is_wrong_is_named(wrong):
    with pytest.raises(ValueError, match="results.json, entry 1"):
        read_found([entry(), wrong], read_truths(TRUTH), source="results.json")


def test_annotations_in_place_of_detections_are_refused():
    with pytest.raises(ValueError, match="list of dicts"):
        read_found(TRUTH, read_truths(TRUTH))


def test_the_category_is_chosen_by_name():
    assert read_truths(TRUTH, "rider").category_id == 2
    with pytest.raises(ValueError, match="expected category 'car'"):
        read_truths(TRUTH, "car")
