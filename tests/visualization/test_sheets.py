"""Pictures on a sheet."""

import numpy as np
import pytest

from mmdyn.visualization import compose_sheet


def test_pictures_are_scaled_to_their_column() -> None:
    red, blue = (np.full((30, 60, 3), color, np.uint8) for color in ((0, 0, 255), (255, 0, 0)))
    sheet = compose_sheet([[red, blue], [blue]], "title", "caption " * 30, width=408, gap=8)
    assert sheet.shape[1] == 408
    assert (sheet == (0, 0, 255)).all(axis=2).sum() == 192 * 96
    assert (sheet == (255, 0, 0)).all(axis=2).sum() == 2 * 192 * 96


def test_no_pictures() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        compose_sheet([[]])
