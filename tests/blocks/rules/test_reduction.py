"""Reductions over channels and over the image, over every mask, against the composite's."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdyn.blocks import BlockTensor
from tests.blocks.clips import Clip, assert_close, spread
from tests.blocks.rules.laws import (
    BLOCK,
    CHANNELS,
    check_frames,
    check_levels,
    half_of_cells,
    image_of,
    masked_grids,
)

T = torch.Tensor
NOT_CHANNELS = "not over the channels"
NEITHER_AXES = "not over the channels or the image"
NO_SUM = "not over the channels, the image or everything"

# Of a map, the axis of channels, and whether to keep it.
KEEPING = [
    torch.mean, T.mean, torch.sum, T.sum, torch.amax, T.amax, torch.argmax, T.argmax, torch.max,
    T.max, torch.min, T.min,
    lambda x, dim, keepdim: torch.norm(x, 2, dim, keepdim),
    lambda x, dim, keepdim: x.norm(1, dim=dim, keepdim=keepdim),
    lambda x, dim, keepdim: x.norm(float("inf"), [dim], keepdim),
]  # fmt: skip
# Of a map and the axis of channels; as large as the map.
SPREADING = [
    torch.softmax, T.softmax, torch.log_softmax, T.log_softmax, F.softmax, F.log_softmax,
    lambda x, dim: F.softmax(x, dim, dtype=torch.float64),
    lambda x, dim: F.normalize(x, dim=dim),
    lambda x, dim: F.normalize(x, 1.0, dim, 0.5),
]  # fmt: skip
channel_axes = st.sampled_from([1, -3])


@pytest.mark.parametrize("function", KEEPING)
@settings(max_examples=12)
@given(channel_axes, st.booleans(), masked_grids())
def test_any_reduction_over_channels(function, dim, keepdim, grid):
    check_frames(lambda x: function(x, dim, keepdim), grid[1], grid[0])


@pytest.mark.parametrize("function", SPREADING)
@settings(max_examples=12)
@given(channel_axes, masked_grids())
def test_any_function_along_channels(function, dim, grid):
    check_frames(lambda x: function(x, dim), grid[1], grid[0])


@pytest.mark.parametrize("keepdim", [True, False])
@pytest.mark.parametrize("function", KEEPING)
def test_half_blocks_reduce_each_pixel(function, keepdim):
    check_levels(lambda x: function(x, 1, keepdim))


@pytest.mark.parametrize("function", SPREADING)
def test_half_blocks_weigh_each_pixel(function):
    check_levels(lambda x: function(x, 1))


def test_channels_that_are_kept_stay_in_blocks_and_name_their_parts():
    def reduce(x):
        found = x.max(1, True)
        return found.values, found.indices, x.min(dim=1, keepdim=True)[1], x.sum(1, True)

    clip = Clip(reduce, BLOCK)
    for out in clip.run(image_of(half_of_cells(), BLOCK)):
        assert isinstance(out, BlockTensor) and out.shape[1] == 1
    check_frames(reduce)


IMAGE = {
    "mean": lambda x, dim, keepdim: x.mean(dim, keepdim),
    "torch.mean": lambda x, dim, keepdim: torch.mean(x, dim=dim, keepdim=keepdim),
    "sum": lambda x, dim, keepdim: x.sum(dim, keepdim),
    "torch.sum": lambda x, dim, keepdim: torch.sum(x, dim=dim, keepdim=keepdim),
    "amax": lambda x, dim, keepdim: x.amax(dim, keepdim),
    "torch.amax": lambda x, dim, keepdim: torch.amax(x, dim=dim, keepdim=keepdim),
}
image_axes = st.sampled_from([(2, 3), (-1, -2), (3, 2), [2, -1]])


@pytest.mark.parametrize("name", IMAGE)
@settings(max_examples=20)
@given(image_axes, st.booleans(), masked_grids())
def test_any_reduction_over_the_image(name, dim, keepdim, grid):
    check_frames(lambda x: IMAGE[name](x, dim, keepdim), grid[1], grid[0])


@pytest.mark.parametrize("name", IMAGE)
def test_half_blocks_count_for_their_area(name):
    check_levels(lambda x: IMAGE[name](x, (2, 3), True))


def test_the_sum_of_everything():
    check_levels(lambda x: x.sum())
    check_frames(lambda x: torch.sum(x, (0, 1, -2, -1)), half_of_cells(), (4, 6))


@settings(max_examples=25)
@given(masked_grids(), st.data())
def test_the_image_is_remembered_cell_by_cell_over_frames(grid, data):
    """Two reductions of two maps, whose memories must not mix, over frames of other cells."""
    block, cells = grid
    clip = Clip(lambda x: (x.mean((2, 3)), (x * 2).amax((2, 3)), (x * x).mean((2, 3))), block)
    composite = image_of(cells, block)
    clip.run(composite)
    for seed in range(1, 4):
        drawn = data.draw(st.lists(st.booleans(), min_size=cells.numel(), max_size=cells.numel()))
        cells = torch.tensor(drawn).view(cells.shape)
        image = image_of(cells, block, seed)
        composite = torch.where(spread(cells, image.shape[2:]), image, composite)
        for got, wanted in zip(clip.run(image, cells), clip.function(composite), strict=True):
            assert_close(got, wanted)


def test_the_image_of_a_stream_is_its_own_wherever_it_stands_in_the_batch():
    cells, block = half_of_cells(), (4, 6)
    clip = Clip(lambda x: x.mean((2, 3)), block)
    old, new = image_of(cells, block, 0), image_of(cells, block, 1)
    clip.run(old, slots=[0, 1])
    composite = torch.where(spread(cells, new.shape[2:]), new, old.flip(0))
    assert_close(clip.run(new, cells, slots=[1, 0]), composite.mean((2, 3)))


@pytest.mark.parametrize(
    "function, reason",
    [
        (lambda x: x.mean(), NEITHER_AXES),
        (lambda x: x.mean(3), NEITHER_AXES),
        (lambda x: x.mean((1, 2, 3), keepdim=True), NEITHER_AXES),
        (lambda x: torch.mean(x, 0), NEITHER_AXES),
        (lambda x: x.mean((2, 3), dtype=torch.float64), NEITHER_AXES),
        (lambda x: x.amax(), NEITHER_AXES),
        (lambda x: x.amax((1, 2)), NEITHER_AXES),
        (lambda x: x.sum((0, 1, 2, 3), True), NO_SUM),
        (lambda x: x.sum((1, 2)), NO_SUM),
        (lambda x: torch.sum(x, 1, dtype=torch.float64), NO_SUM),
        (lambda x: x.sum(dtype=torch.float64), NO_SUM),
        (lambda x: x.argmax(), NOT_CHANNELS),
        (lambda x: x.argmax(2, keepdim=True), NOT_CHANNELS),
        (lambda x: x.max(), NOT_CHANNELS),
        (lambda x: torch.max(x, 3), NOT_CHANNELS),
        (lambda x: torch.min(x, dim=-1, keepdim=True)[0], NOT_CHANNELS),
        (lambda x: x.norm(), NOT_CHANNELS),
        (lambda x: torch.norm(x, 2, (2, 3)), NOT_CHANNELS),
        (lambda x: torch.norm(x, 2, 1, dtype=torch.float64), NOT_CHANNELS),
        (lambda x: x.softmax(3), NOT_CHANNELS),
        (lambda x: F.log_softmax(x, dim=0), NOT_CHANNELS),
        (lambda x: F.normalize(x, dim=2), NOT_CHANNELS),
    ],
)
def test_other_axes_are_reduced_on_the_composite(function, reason):
    check_frames(function, reason=reason)


@pytest.mark.parametrize("function", [torch.max, torch.min])
def test_the_larger_of_two_maps(function):
    full = torch.randn(2, CHANNELS, 8, 18, generator=torch.Generator().manual_seed(2))
    check_frames(lambda x: (function(x, -x), function(x, full), function(full, x)))
    check_levels(lambda x: function(x, -x))


def test_a_result_does_not_change_when_its_source_is_written_later():
    def apply(x):
        y = x.clone()
        kept = (y.sum(1, True), y.mean((2, 3)), y.softmax(1), y.max(1, True)[0])
        y.zero_()
        return kept

    check_frames(apply)


def test_an_average_is_of_what_was_written_in_place():
    def apply(x):
        y = F.conv2d(x, torch.eye(CHANNELS)[:, :, None, None])
        y.sub_(y.mean((2, 3), keepdim=True)).mul_(3)
        return y.mean(1, True), y.amax((2, 3))

    check_frames(apply, torch.ones(2, 2, 3, dtype=torch.bool))


@pytest.mark.parametrize(
    "function, names",
    [
        (lambda x: x.mean(axis=1), "axis"),
        (lambda x: torch.sum(x, axis=1, keepdims=True), "axis, keepdims"),
        (lambda x: x.argmax(axis=1), "axis"),
        (lambda x: torch.max(x, axis=1)[0], "axis"),
        (lambda x: torch.max(x, other=-x), "other"),
    ],
)
def test_arguments_by_their_other_names(function, names):
    check_frames(function, reason=f"arguments named {names}")
