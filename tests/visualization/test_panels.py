"""Strips of words and bars beside a picture."""

import numpy as np

from mmdyn.visualization import add_panel, add_title
from mmdyn.visualization.panels import BAR, add_label

PICTURE = np.full((40, 200, 3), 90, np.uint8)


def test_title_goes_above_and_cuts_what_does_not_fit() -> None:
    drawn = add_title(PICTURE, "dense", "a very long note " * 20)
    assert (drawn[-40:] == PICTURE).all()
    assert drawn.shape[1:] == PICTURE.shape[1:] and drawn[:-40].max() > 200


def test_bar_has_the_length_of_the_share() -> None:
    drawn = add_panel(PICTURE, {"executed": "25%"}, share=0.25)
    bar = (drawn[42] == BAR[::-1]).all(axis=1)
    assert bar[:50].all() and not bar[52:].any()
    assert (drawn[:40] == PICTURE).all()


def test_facts_that_do_not_fit_are_left_out() -> None:
    one = add_panel(PICTURE, {"a": "1"})
    many = add_panel(PICTURE, {"a": "1", "b" * 100: "2"})
    assert (one == many).all()


def test_label_stays_inside_the_picture() -> None:
    for corner in ((-5, -5), (195, 39), (100, 20)):
        drawn = add_label(PICTURE, "person 0.91", corner, (0, 200, 255))
        assert drawn.shape == PICTURE.shape
        assert (drawn == (0, 200, 255)).all(axis=2).any()
