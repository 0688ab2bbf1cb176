"""A camera's pixels and rays agree with the pinhole model."""

import numpy as np
import pytest

from mmdyn.datasets.street.geometry import Camera, capsule, outward, turn_about_y


def test_a_point_ahead_is_where_the_pinhole_puts_it():
    camera = Camera(200, 100, (0.0, 1.0, 0.0), focal_widths=1.0)
    x, y = camera.to_pixels(camera.to_camera(np.array([[2.0, 3.0, 10.0]])))[0]
    assert (x, y) == pytest.approx((100 + 200 * 2 / 10, 50 - 200 * 2 / 10))


def test_rays_pass_through_the_points_that_project_to_their_pixels():
    camera = Camera(64, 48, (1.0, 1.5, -3.0), yaw=0.1, pitch=0.05)
    x, y, z = camera.rays((slice(10, 30), slice(5, 50)))
    ray = np.array([x[7, 9], y[7, 9], z[7, 9]], float)
    place = np.asarray(camera.position) + 12.0 * ray
    assert camera.depth(place) == pytest.approx(12.0, rel=1e-5)
    pixel = camera.to_pixels(camera.to_camera(place[None]))[0]
    assert pixel == pytest.approx((5 + 9 + 0.5, 10 + 7 + 0.5), abs=1e-3)


def test_polygons_are_cut_at_the_near_plane():
    camera = Camera(64, 48, (0.0, 1.5, 0.0))
    ground = np.array([[-1, 0, -5], [1, 0, -5], [1, 0, 5], [-1, 0, 5]], float)
    outline = camera.polygon(ground)
    assert np.isfinite(outline).all()
    assert outline[:, 1].max() > 48 > outline[:, 1].min() > 24
    assert camera.polygon(ground - (0, 0, 6)) is None


def test_capsule_and_normals():
    outline = capsule(np.array([0.0, 0.0]), np.array([10.0, 0.0]), 2.0, 1.0)
    assert outline.min(axis=0) == pytest.approx((-2, -2))
    assert outline.max(axis=0) == pytest.approx((11, 2))
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    assert outward(square, np.array([0.5, 0.5, -1.0])) == pytest.approx((0, 0, 2))
    assert outward(square[::-1], np.array([0.5, 0.5, -1.0])) == pytest.approx((0, 0, 2))


def test_heading_turns_ahead_towards_x():
    assert turn_about_y(np.array([[0.0, 0, 1]]), np.pi / 2)[0] == pytest.approx((1, 0, 0))
    assert turn_about_y(np.array([[1.0, 0, 0]]), np.pi / 2)[0] == pytest.approx((0, 0, -1))
