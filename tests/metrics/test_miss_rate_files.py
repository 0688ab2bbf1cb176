"""Lists of detections: what is read, what is left out, what is refused."""

import numpy as np
import pytest

from mmdyn.metrics.miss_rate_files import read_found, read_json, read_truths

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
        entry(bbox=[0, 0, None, 1]),
        entry(image_id=[1]),
        entry(image_id=None),
        dict(image_id=1),
        "text",
    ],
)
def test_an_entry_that_is_wrong_is_named(wrong):
    with pytest.raises(ValueError, match="results.json, entry 1"):
        read_found([entry(), wrong], read_truths(TRUTH), source="results.json")


def test_detections_of_other_categories_alone_are_told_of(caplog):
    assert read_found([entry(), entry(category_id=2)], read_truths(TRUTH)) and not caplog.text
    elsewhere = [entry(image_id=3), entry(category_id=2)]  # an image that nobody labelled
    assert read_found(elsewhere, read_truths(TRUTH)) == {} and not caplog.text
    assert read_found([entry(category_id=7)], read_truths(TRUTH), source="a.json") == {}
    assert "a.json: no detection is of category 1 ('pedestrian'), they are of 7" in caplog.text


def test_people_on_unknown_images_are_told_of(caplog):
    lost = dict(id=1, image_id=9, category_id=1, bbox=[0, 0, 1, 1])
    annotated = read_truths({**TRUTH, "annotations": [lost]}, source="a.json")
    assert list(annotated.truths) == [1, 2] and "does not list, such as 9" in caplog.text


def test_annotations_in_place_of_detections_are_refused():
    with pytest.raises(ValueError, match="list of dicts"):
        read_found(TRUTH, read_truths(TRUTH))


def test_the_category_is_chosen_by_name():
    assert read_truths(TRUTH, "rider").category_id == 2
    with pytest.raises(ValueError, match="expected category 'car'"):
        read_truths(TRUTH, "car")


def truth(**annotation) -> dict:
    """One person of 100 px."""
    person = dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 30, 100], **annotation)
    return {**TRUTH, "annotations": [person]}


def test_what_is_ignored():
    def ignored(**fields) -> list[bool]:
        return read_truths(truth(**fields)).truths[1].ignored.tolist()

    assert ignored(ignore=1) == ignored(iscrowd=1) == ignored(iscrowd=1, height=100) == [True]
    assert ignored() == ignored(iscrowd=1, ignore=0) == [False]
    assert ignored(iscrowd=1, height=100, vis_ratio=1.0) == [False]  # as the published one has it


@pytest.mark.parametrize(
    "fields",
    [
        dict(vis_ratio=None), dict(height=float("nan")), dict(bbox=[0, 0, float("nan"), 1]),
        dict(bbox=[0, 0, 1]), dict(bbox=None), dict(vis_ratio="all"), dict(vis_bbox=[1, 2]),
    ],
)  # fmt: skip
def test_annotations_that_are_no_numbers_are_named(fields):
    content = truth()
    content["annotations"][0].update(fields)
    with pytest.raises(
        ValueError, match="gt.json, image 1: expected annotations with 'bbox'"
    ) as caught:
        read_truths(content, source="gt.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changed",
    [
        dict(images=[dict(file_name="a.png")]),
        dict(images=[dict(id=1), dict(id=1)]),
        dict(images=[dict(id=1), dict(id=2, labelled=False), dict(id=2, labelled=False)]),
        dict(images=[dict(id=1), dict(id="a")]),
        dict(images=["a.png"]),
        dict(annotations=[dict(image_id=[1], category_id=1)]),
        dict(annotations=["person"]),
        dict(annotations=[dict(id=1, image_id=1, category_id=2)] * 2),
        dict(categories=[dict(name="pedestrian")]),
    ],
)
def test_ids_that_are_missing_or_twice_there_are_named(changed):
    with pytest.raises(ValueError, match="gt.json, .*expected.*repair the file") as caught:
        read_truths({**TRUTH, **changed}, source="gt.json")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_json_are_named(tmp_path):
    for name, expected in (("a.txt", "ends with .json"), ("a.json", "is not a json file")):
        path = tmp_path / name
        path.write_text("{")
        with pytest.raises(ValueError, match=f"{name}.*{expected}"):
            read_json(str(path))
