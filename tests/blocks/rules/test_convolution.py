"""Convolutions of every geometry, over every mask, against the dense ones."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdyn.blocks import BlockTensor
from tests.blocks.clips import Clip, as_dense, assert_close

CHANNELS = 4
kernels = st.tuples(st.integers(1, 5), st.integers(1, 5))
grids = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3))
blocks = st.tuples(st.sampled_from([2, 4, 8]), st.sampled_from([2, 4, 6]))
masks = st.sampled_from(["none", "one", "some", "all"])


def image_of(grid, block):
    generator = torch.Generator().manual_seed(sum(grid) + sum(block))
    return torch.randn(
        grid[0], CHANNELS, grid[1] * block[0], grid[2] * block[1], generator=generator
    )


def weight_of(out, groups, kernel):
    return torch.randn(out, CHANNELS // groups, *kernel, generator=torch.Generator().manual_seed(7))


def check(function, x, block, cells):
    """Equal to the dense function on the first frame, and on a still second one under any mask."""
    try:
        wanted = function(x)
    except RuntimeError:
        return  # torch refuses this geometry
    if not wanted.numel():
        return
    clip = Clip(function, block)
    with torch.no_grad():
        assert_close(clip.dense(x), wanted)
        assert_close(clip.dense(x, cells), wanted)


@settings(max_examples=60)
@given(
    grids, blocks, kernels, st.integers(1, 3), st.integers(1, 7), st.sampled_from([1, 2, 4]),
    st.one_of(st.just("same"), st.tuples(st.integers(0, 8), st.integers(0, 8))), masks,
)  # fmt: skip
def test_any_geometry(grid, block, kernel, stride, dilation, groups, padding, cells):
    weight = weight_of(8, groups, kernel)
    bias = torch.linspace(-1, 1, 8)
    args = (1 if padding == "same" else stride, padding, dilation, groups)
    check(lambda v: F.conv2d(v, weight, bias, *args), image_of(grid, block), block, cells)


@settings(max_examples=30)
@given(
    grids, blocks, kernels, st.integers(1, 2), st.integers(1, 2),
    st.tuples(*[st.integers(0, 4)] * 4),
    st.sampled_from(["constant", "reflect", "replicate", "circular"]), masks,
)  # fmt: skip
def test_any_explicit_padding(grid, block, kernel, stride, dilation, pads, mode, cells):
    weight = weight_of(3, 1, kernel)
    value = 0.5 if mode == "constant" else None
    check(
        lambda v: F.conv2d(F.pad(v, pads, mode, value), weight, None, stride, 0, dilation),
        image_of(grid, block), block, cells,
    )  # fmt: skip


@settings(max_examples=30)
@given(
    grids, blocks, kernels, st.integers(1, 3), st.integers(0, 3), st.integers(0, 2),
    st.integers(1, 2), st.sampled_from([1, 2]), masks,
)  # fmt: skip
def test_any_transposed_geometry(grid, block, kernel, stride, pad, extra, dilation, groups, cells):
    weight = torch.randn(CHANNELS, 6 // groups, *kernel, generator=torch.Generator().manual_seed(7))
    check(
        lambda v: F.conv_transpose2d(v, weight, None, stride, pad, extra, groups, dilation),
        image_of(grid, block), block, cells,
    )  # fmt: skip


@pytest.mark.parametrize("dilation", [1, 6, 12])
@pytest.mark.parametrize("groups", [1, CHANNELS])
def test_half_blocks_of_zero_padded_convolutions_are_exact(dilation, groups):
    x, weight = image_of((1, 2, 3), (8, 6)), weight_of(8, groups, (3, 3))

    def function(v):
        return F.conv2d(v, weight, None, 1, dilation, dilation, groups)

    with torch.no_grad():
        out = Clip(function, (8, 6), remembers=False).run(x, torch.full((1, 2, 3), 2))
    wanted = function(F.avg_pool2d(x, 2)).view(1, 8, 2, 4, 3, 3).permute(0, 2, 4, 1, 3, 5)
    assert isinstance(out, BlockTensor)
    assert_close(out.halves, wanted.reshape(6, 8, 4, 3))


def test_gradients_in_double_precision():
    x = image_of((1, 2, 2), (2, 2)).double().requires_grad_()
    weight = weight_of(4, 4, (3, 3)).double().requires_grad_()

    def function(v, w):
        return Clip(lambda m: F.conv2d(m, w, None, 2, 1, 1, 4), (2, 2), remembers=False).dense(v)

    assert torch.autograd.gradcheck(function, (x, weight))


def test_what_makes_a_map_of_the_weight_runs_dense():
    x = image_of((1, 2, 2), (4, 4))
    clip = Clip(lambda v: F.conv2d(x, v[:, :, :3, :3], padding=1), (4, 4), remembers=False)
    assert_close(as_dense(clip.run(x)), F.conv2d(x, x[:, :, :3, :3], padding=1))
