"""Boxes, flips and crops: laws, and cases by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdyn.datasets.pose import (
    GetBBoxCenterScale,
    RandomBBoxTransform,
    RandomPoseFlip,
    TopdownAffine,
)
from mmdyn.datasets.pose.transforms import crop_matrix


def person(size=(40, 60)):
    rng = np.random.default_rng(0)
    return dict(
        img=rng.integers(0, 256, (*size, 3), np.uint8),
        keypoints=rng.uniform(0, 40, (1, 3, 2)).astype(np.float32),
        keypoints_visible=np.array([[1, 0, 1]], np.float32),
        flip_indices=[0, 2, 1],
        bbox=np.array([[10, 5, 30, 35]], np.float32),
    )


def test_centre_and_padded_sides_by_hand():
    out = GetBBoxCenterScale(1.5)(person())
    assert out["bbox_center"].tolist() == [[20, 20]] and out["bbox_scale"].tolist() == [[30, 45]]


def test_a_person_without_a_box_is_refused():
    with pytest.raises(ValueError, match="no bbox"):
        GetBBoxCenterScale()(dict(img_path="a.png"))


def test_flipping_twice_changes_nothing():
    flip, start = RandomPoseFlip(prob=1.0), GetBBoxCenterScale()(person())
    once = flip(dict(start))
    assert not np.array_equal(once["img"], start["img"])
    twice = flip(dict(once))
    for key in ("img", "keypoints_visible"):
        assert np.array_equal(twice[key], start[key])
    for key in ("keypoints", "bbox", "bbox_center"):
        assert np.allclose(twice[key], start[key], atol=1e-5)


def test_joints_stay_on_their_pixels_and_sides_change():
    start = person()
    out = RandomPoseFlip(prob=1.0)(person())
    x, y = (int(v) for v in start["keypoints"][0, 1])
    assert np.array_equal(out["img"][y, 59 - x], start["img"][y, x])
    assert out["keypoints"][0, 2, 0] == pytest.approx(59 - start["keypoints"][0, 1, 0])
    assert out["keypoints_visible"].tolist() == [[1, 1, 0]] and out["flip"]


def test_no_flip_with_probability_zero():
    start = person()
    out = RandomPoseFlip(prob=0.0)(person())
    assert np.array_equal(out["img"], start["img"]) and out["flip"] is False


def test_random_boxes_keep_their_centre_and_bounds():
    start = GetBBoxCenterScale()(person())
    change = RandomBBoxTransform((0.5, 2.0), rotate_factor=30, rotate_prob=0.5)
    outs = [change(dict(start)) for _ in range(200)]
    factors = np.array([o["bbox_scale"][0] / start["bbox_scale"][0] for o in outs])
    angles = np.array([o["bbox_rotation"][0] for o in outs])
    assert factors.min() >= 0.5 and factors.max() <= 2 and factors.std() > 0.2
    assert np.allclose(factors[:, 0], factors[:, 1])
    assert np.abs(angles).max() <= 30 and 60 < (angles != 0).sum() < 140
    assert all(np.array_equal(o["bbox_center"], start["bbox_center"]) for o in outs)


@given(
    st.floats(-180, 180), st.tuples(st.floats(5, 200), st.floats(5, 200)),
    st.tuples(st.floats(0, 60), st.floats(0, 60)),
)  # fmt: skip
def test_crops_can_be_undone(angle, scale, point):
    matrix = crop_matrix(np.array([20, 30]), np.array(scale), angle, (64, 48))
    inside = matrix @ [*point, 1]
    back = np.linalg.solve(matrix[:, :2], inside - matrix[:, 2])
    assert np.allclose(back, point, atol=1e-6)
    assert np.allclose(matrix @ [20, 30, 1], [32, 24])


def test_an_unturned_crop_is_the_box():
    out = GetBBoxCenterScale(1.0)(person((64, 64)))
    out = TopdownAffine((30, 30))({**out, "bbox": None})
    # The 20x30 box grows to a square around its centre: x 5 to 35, y 5 to 35, pixel for pixel.
    assert out["input_scale"] == [30, 30] and out["input_center"] == [20, 20]
    assert np.array_equal(out["img"], person((64, 64))["img"][5:35, 5:35])
    assert np.allclose(out["transformed_keypoints"], out["keypoints"] - 5)


def test_turned_joints_stay_on_their_pixels():
    image = np.zeros((64, 64, 3), np.uint8)
    image[18:23, 38:43] = 255
    box = dict(
        img=image,
        keypoints=np.array([[[40, 20]]], np.float32),
        bbox_center=np.array([[32, 32]], np.float32),
        bbox_scale=np.array([[64, 64]], np.float32),
        bbox_rotation=np.array([30.0]),
    )
    out = TopdownAffine((128, 128))(box)
    x, y = out["transformed_keypoints"][0, 0].round().astype(int)
    assert out["img"][y, x].min() > 200 and (x, y) != (80, 40)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GetBBoxCenterScale(0),
        lambda: RandomPoseFlip(direction="vertical"),
        lambda: RandomBBoxTransform((1.5, 0.5)),
        lambda: RandomBBoxTransform(shift_prob=0.3),
        lambda: TopdownAffine((0, 64)),
    ],
)
def test_impossible_steps_are_refused(make):
    with pytest.raises(ValueError, match="expected|must"):
        make()
