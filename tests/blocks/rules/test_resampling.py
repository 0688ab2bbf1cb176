"""Interpolation by any ratio, over any mask, against the dense one."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.blocks.rules.test_convolution import blocks, check, grids, image_of, masks

modes = st.sampled_from(["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
factors = st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 0.3, 2.7])


def corners(mode, align):
    return align if mode in ("bilinear", "bicubic") else None


@settings(max_examples=50)
@given(grids, blocks, factors, factors, modes, st.booleans(), st.booleans(), masks)
def test_any_factor(grid, block, fy, fx, mode, align, recompute, cells):
    options = dict(mode=mode, align_corners=corners(mode, align))
    check(
        lambda v: F.interpolate(
            v, scale_factor=(fy, fx), recompute_scale_factor=recompute, **options
        ),
        image_of(grid, block), block, cells,
    )  # fmt: skip


@settings(max_examples=30)
@given(grids, blocks, st.integers(1, 40), st.integers(1, 40), modes, st.booleans(), masks)
def test_any_size(grid, block, height, width, mode, align, cells):
    options = dict(mode=mode, align_corners=corners(mode, align))
    check(
        lambda v: F.interpolate(v, (height, width), **options), image_of(grid, block), block, cells
    )


def test_float32_maps_are_not_rounded_under_autocast():
    x = image_of((1, 2, 2), (4, 4))
    with torch.autocast("cpu", torch.bfloat16):
        check(
            lambda v: F.interpolate(v, (6, 6), mode="bilinear", align_corners=True),
            x,
            (4, 4),
            "all",
        )
