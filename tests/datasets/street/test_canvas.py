"""Strokes cover what they outline, and labels follow the picture."""

import cv2
import numpy as np
import pytest

from mmdyn.datasets.street.canvas import UNPAINTED, Canvas


def test_coverage_is_the_outlines_area():
    canvas = Canvas(40, 60)
    square = np.array([[10.0, 5.0], [30.0, 5.0], [30.0, 20.0], [10.0, 20.0]])
    canvas.polygon(square, (255, 0, 0), label=4, instance=9)
    assert (canvas.semantic == 4).sum() == 20 * 15
    assert canvas.instance[12, 20] == 9 and canvas.semantic[30, 20] == UNPAINTED
    triangle = np.array([[3.2, 4.1], [50.7, 9.4], [22.2, 36.6]])
    area = cv2.contourArea(triangle.astype(np.float32))
    region = canvas.region(triangle)
    assert canvas.coverage(triangle, region).sum() == pytest.approx(area, rel=0.03)


def test_later_strokes_take_pixels_over():
    canvas = Canvas(20, 20)
    square = np.array([[0.0, 0.0], [20.0, 0.0], [20.0, 20.0], [0.0, 20.0]])
    canvas.polygon(square, (10, 10, 10), label=1)
    canvas.polygon(square * 0.5, (200, 0, 0), label=13, instance=2)
    assert (canvas.instance == 2).sum() == 100
    assert ((canvas.semantic == 13) == (canvas.instance == 2)).all()
    canvas.polygon(square * 0.25, (0, 200, 0), label=None)
    assert canvas.image[2, 2, 1] > 150 and canvas.semantic[2, 2] == 13


def test_outlines_outside_the_picture_are_ignored():
    canvas = Canvas(10, 10)
    canvas.polygon(np.array([[50.0, 50.0], [60.0, 50.0], [60.0, 60.0]]), (1, 1, 1), label=1)
    canvas.polygon(None, (1, 1, 1), label=1)
    canvas.darken([None], 0.5, 1.0)
    assert (canvas.semantic == UNPAINTED).all()


def test_darkening_leaves_labels_alone():
    canvas = Canvas(20, 20)
    canvas.image[:] = 100
    canvas.darken([np.array([[5.0, 5.0], [15.0, 5.0], [15.0, 15.0], [5.0, 15.0]])], 0.5, 0.5)
    assert canvas.image[10, 10, 0] == pytest.approx(50, abs=2) and canvas.image[0, 0, 0] == 100
    assert (canvas.semantic == UNPAINTED).all()
