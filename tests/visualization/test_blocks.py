"""Executed blocks stay as they are, copied ones fade, and a line runs between them."""

import numpy as np
import pytest

from mmdyn.visualization import draw_blocks, shade_cells


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)


def test_executed_blocks_keep_their_pixels_inside_the_line(image: np.ndarray) -> None:
    executed = np.zeros((2, 3), bool)
    executed[0, 1] = True
    drawn = draw_blocks(image, executed, (32, 32))
    inside = np.s_[3:29, 35:61]
    assert (drawn[inside] == image[inside]).all()
    outside = np.s_[36:, :]
    assert drawn[outside].mean() < image[outside].mean()
    assert drawn[outside].std(axis=2).mean() < image[outside].std(axis=2).mean()


def test_line_follows_the_border_between_executed_and_copied(image: np.ndarray) -> None:
    executed = np.array([[True, True, False]])
    drawn = draw_blocks(image, executed, (64, 32), outline=(1, 2, 3))
    line = (drawn == (1, 2, 3)).all(axis=2)
    assert line[5:60, 64].all(), "between an executed and a copied block"
    assert not line[5:60, 32].any(), "no line between two executed blocks"


@pytest.mark.parametrize("value", [True, False])
def test_uniform_grids(image: np.ndarray, value: bool) -> None:
    drawn = draw_blocks(image, np.full((2, 3), value), (32, 32))
    same = (drawn[4:-4, 4:-4] == image[4:-4, 4:-4]).all()
    assert same == value


def test_grid_larger_than_the_picture_and_uneven_blocks(image: np.ndarray) -> None:
    """A padded network input covers more than the picture; a scaled one has uneven blocks."""
    executed = np.eye(3, 5, dtype=bool)
    for draw in (draw_blocks, shade_cells):
        drawn = draw(image, executed, (25.7, 23.1))
        assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert image.flags.writeable and drawn is not image


def test_grid_smaller_than_the_picture_leaves_the_rest(image: np.ndarray) -> None:
    drawn = shade_cells(image, np.ones((1, 1)), (32, 32))
    assert (drawn[32:] == image[32:]).all() and (drawn[:, 32:] == image[:, 32:]).all()


def test_shades_grow_with_the_value_and_survive_nan(image: np.ndarray) -> None:
    values = np.array([[0.0, 0.5, 1.0], [np.nan, np.inf, 0.0]])
    drawn = shade_cells(np.zeros_like(image), values, (32, 32)).astype(int).sum(axis=2)
    assert drawn[5, 5] < drawn[5, 40] < drawn[5, 70]
    assert drawn[40, 5] == drawn[5, 5] and drawn[40, 40] == drawn[5, 70]


def test_limits_fix_what_a_colour_stands_for(image: np.ndarray) -> None:
    low, high = np.array([[0.1, 0.2]]), np.array([[0.1, 0.9]])
    one, other = (
        shade_cells(image, values, (64, 48), opacity=1.0, limits=(0.0, 1.0))
        for values in (low, high)
    )
    assert (one[:, :48] == other[:, :48]).all() and (one[:, 48:] != other[:, 48:]).any()
    assert (shade_cells(image, high + 7, (64, 48), limits=(0.0, 1.0))[0, 0] >= 0).all()
