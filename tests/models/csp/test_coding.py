"""Boxes to cells, offsets and scales, and back."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdyn.models.csp.coding import decode_boxes, encode_boxes

SIZE = (40, 60)  # cells


@st.composite
def boxes(draw):
    """(K, 4) boxes whose centres lie in the image of 160x240 px."""
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        x, y = draw(st.floats(0, 239.5)), draw(st.floats(0, 159.5))
        h, w = draw(st.floats(1.5, 400)), draw(st.floats(1.5, 400))
        rows.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return torch.tensor(rows).reshape(-1, 4)


@given(boxes())
def test_decoding_undoes_coding(given_boxes):
    coded = encode_boxes(given_boxes, SIZE, 4, width=True)
    torch.testing.assert_close(decode_boxes(*coded, 4, 0.41), given_boxes, atol=1e-3, rtol=1e-4)


@given(boxes())
def test_without_widths_the_aspect_gives_them(given_boxes):
    decoded = decode_boxes(*encode_boxes(given_boxes, SIZE, 4), 4, 0.41)
    height = given_boxes[:, 3] - given_boxes[:, 1]
    torch.testing.assert_close(decoded[:, 3] - decoded[:, 1], height, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(decoded[:, 2] - decoded[:, 0], 0.41 * height, atol=1e-3, rtol=1e-4)
    middle = given_boxes[:, :2] + given_boxes[:, 2:]
    torch.testing.assert_close(decoded[:, :2] + decoded[:, 2:], middle, atol=2e-3, rtol=1e-4)


@given(boxes())
def test_offsets_reach_half_a_cell_at_most(given_boxes):
    cells, offsets, _ = encode_boxes(given_boxes, SIZE, 4)
    assert (offsets.abs() <= 0.5001).all()
    assert (cells >= 0).all() and (cells < torch.tensor(SIZE)).all()


def test_the_numbers_of_one_box():
    cells, offsets, scales = encode_boxes(
        torch.tensor([[100.0, 50, 120, 130]]), SIZE, 4, width=True
    )
    assert cells.tolist() == [[22, 27]]  # centre (110, 90): 27.5 and 22.5 cells
    torch.testing.assert_close(offsets, torch.tensor([[0.0, 0.0]]))
    torch.testing.assert_close(scales, torch.tensor([[20.0, 5.0]]).log())


def test_a_centre_outside_comes_to_the_nearest_cell():
    box = torch.tensor([[230.0, 150, 290, 190]])
    cells, offsets, scales = encode_boxes(box, SIZE, 4, width=True)
    assert cells.tolist() == [[39, 59]]
    torch.testing.assert_close(decode_boxes(cells, offsets, scales, 4, 1.0), box)


def test_wild_predictions_and_empty_boxes_stay_finite():
    wild = torch.full((1, 1), 1e4)
    assert torch.isfinite(decode_boxes(torch.zeros(1, 2), torch.zeros(1, 2), wild, 4, 0.41)).all()
    assert torch.isfinite(encode_boxes(torch.tensor([[5.0, 5, 5, 5]]), SIZE, 4)[2]).all()
