"""Pictures of where a gated network computes."""

import numpy as np
import pytest
import torch

from mmdyn.visualization import density_map, draw_density


def test_the_density_is_the_share_of_blocks_over_a_pixel():
    fine, coarse = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2)
    fine[0, 0, 0, 0] = 1
    coarse[0, 0, 0, 0] = 1
    found = density_map([fine, coarse], (4, 4))[0]
    assert found[0, 0] == 1.0 and found[1, 1] == 0.5 and found[2, 2] == 0.0
    with pytest.raises(ValueError, match="at least one block"):
        density_map([], (4, 4))


def test_dense_places_are_red_and_idle_ones_blue():
    density = np.array([[0.0, 1.0]])
    drawn = draw_density(np.zeros((1, 2, 3), np.uint8), density, strength=1.0)
    idle, busy = drawn[0].astype(int)
    assert busy[2] > busy[0] and idle[0] > idle[2]
    image = np.full((1, 2, 3), 77, np.uint8)
    assert np.array_equal(draw_density(image, density, strength=0.0), image)
