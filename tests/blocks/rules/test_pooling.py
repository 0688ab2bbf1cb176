"""Pools of every geometry, over every mask, against the dense ones."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.blocks.rules.test_convolution import blocks, check, grids, image_of, masks

sides = st.tuples(st.integers(1, 4), st.integers(1, 4))
pads = st.tuples(st.integers(0, 2), st.integers(0, 2))


@settings(max_examples=40)
@given(grids, blocks, sides, sides, pads, st.integers(1, 2), st.booleans(), masks)
def test_any_maximum(grid, block, kernel, stride, pad, dilation, ceil, cells):
    args = (kernel, stride, pad, dilation, ceil)
    check(lambda v: F.max_pool2d(v, *args), image_of(grid, block) - 5, block, cells)


@settings(max_examples=40)
@given(grids, blocks, sides, sides, pads, st.booleans(), st.booleans(), masks)
def test_any_average(grid, block, kernel, stride, pad, ceil, whole, cells):
    args = (kernel, stride, pad, ceil, whole)
    check(lambda v: F.avg_pool2d(v, *args), image_of(grid, block), block, cells)


@settings(max_examples=30)
@given(grids, blocks, st.integers(1, 9), st.integers(1, 9), masks, st.booleans())
def test_any_adaptive_size(grid, block, height, width, cells, maximum):
    pool = F.adaptive_max_pool2d if maximum else F.adaptive_avg_pool2d
    check(lambda v: pool(v, (height, width)), image_of(grid, block), block, cells)


def test_an_average_of_half_precision_does_not_overflow():
    x = torch.full((1, 4, 64, 64), 40.0, dtype=torch.float16)
    check(lambda v: v.mean((2, 3), keepdim=True), x, (32, 32), "some")
