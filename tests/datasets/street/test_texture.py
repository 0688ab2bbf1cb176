"""Filtered patterns equal the mean of the sharp pattern over the pixel."""

import numpy as np
import pytest

from mmdyn.datasets.street.texture import Noise, box, hashed, pulse


@pytest.mark.parametrize("width", [0.01, 0.3, 2.0])
def test_box_and_pulse_are_means_over_the_pixel(width):
    fine = np.linspace(-0.5, 0.5, 4001) * width
    for x in (-1.3, 0.0, 0.21, 0.9, 5.05):
        at = np.array([[x]])
        inside = ((x + fine) >= 0.2) & ((x + fine) <= 0.9)
        assert box(at, 0.2, 0.9, width)[0, 0] == pytest.approx(inside.mean(), abs=2e-3)
        phase = np.mod(x + fine, 1.0)
        stripes = (phase >= 0.2) & (phase <= 0.7)
        assert pulse(at, 1.0, 0.2, 0.7, width)[0, 0] == pytest.approx(stripes.mean(), abs=2e-3)


def test_hash_depends_on_every_key_alone():
    grid = np.arange(1000).reshape(10, 100)
    first = hashed(grid, 3)
    assert np.array_equal(first, hashed(grid, 3))
    assert not np.array_equal(first, hashed(grid, 4))
    assert 0 <= first.min() < 0.05 and 0.95 < first.max() < 1


def test_noise_repeats_and_stays_in_range():
    noise = Noise(np.random.default_rng(0))
    x, y = np.meshgrid(np.linspace(-3, 3, 50), np.linspace(0, 2, 40))
    values = noise.at(x, y, 4.0)
    assert np.abs(values).max() <= 1
    assert np.allclose(values, noise.at(x + 4.0, y - 8.0, 4.0), atol=1e-3)
