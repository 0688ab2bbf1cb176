"""Slices of channels and strides over pixels; other indices are of the composite."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.blocks.clips import Clip
from tests.blocks.rules.laws import CHANNELS, check_frames, check_levels, image_of, masked_grids

CUTS = "a slice that cuts through blocks"
NO_SLICE = "indexing that is not a slice of channels or a stride"


@st.composite
def slices(draw, side: int = 24) -> slice:
    ends = st.none() | st.integers(-side, side)
    return slice(draw(ends), draw(ends), draw(st.none() | st.integers(1, 4)))


@settings(max_examples=80)
@given(slices(CHANNELS), slices(), slices(), masked_grids())
def test_any_slice_is_exact(channels, rows, cols, grid):
    block, cells = grid
    index = (slice(None), channels, rows, cols)
    if not image_of(cells, block)[index].numel():
        return
    clip = Clip(lambda x: x[index], block, remembers=False)
    clip.run(image_of(cells, block))
    reason = next((site.reason for site in clip.frame.dense_sites.values()), None)
    assert reason in (None, CUTS)
    check_frames(lambda x: x[index], cells, block, reason)


@pytest.mark.parametrize(
    "index",
    [
        (slice(None), slice(1, 3)),
        (..., slice(None, None, 2), slice(None, None, 2)),
        (slice(None), slice(3), slice(1, None, 2), slice(2, 18, 3)),
        (slice(None), slice(-2, None), ..., slice(0, 99, 6)),
        ...,
        slice(None),
    ],
)
def test_slices_that_stay_on_blocks(index):
    check_frames(lambda x: x[index])


def test_half_blocks_give_slices_of_their_channels():
    check_levels(lambda x: x[:, 1:3])


@pytest.mark.parametrize(
    "index, reason",
    [
        ((..., slice(1, None), slice(None)), CUTS),
        ((..., slice(None, -1)), CUTS),
        ((..., slice(None, None, 3), slice(None)), CUTS),
        ((slice(None), slice(None), slice(2, None, 2)), CUTS),
        (0, NO_SLICE),
        (slice(1), NO_SLICE),
        ((slice(None), 2), NO_SLICE),
        ((slice(None), [0, 2]), NO_SLICE),
        ((slice(None), None), NO_SLICE),
        ((..., torch.tensor([0, 5])), NO_SLICE),
    ],
)
def test_other_indices_are_of_the_composite(index, reason):
    check_frames(lambda x: x[index], reason=reason)


@pytest.mark.parametrize("source", [True, False])
def test_strided_slices_and_their_source_follow_each_other(source):
    def apply(x):
        y = x.clone()
        view = y[..., ::2, ::2]
        (y if source else view).mul_(3)
        return y, view

    check_frames(apply)
