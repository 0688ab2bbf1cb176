"""Types, channels, padding, shuffles: what moves nothing to another cell, and what is refused."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdyn.blocks.padded import PaddedBlockTensor
from mmdyn.blocks.rules import shape
from tests.blocks.clips import Clip
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
KERNEL = torch.randn(CHANNELS, CHANNELS, 3, 3, generator=torch.Generator().manual_seed(0))
FULL = torch.randn(2, 3, 8, 18, generator=torch.Generator().manual_seed(1))
NOT_ALONG = "not along the channels"
NO_PAD = "padding that is not two-dimensional, or that crops"


def blocks_of(dtype=torch.float32):
    """An image as blocks, and the image."""
    image = image_of(half_of_cells(), BLOCK).to(dtype)
    return Clip(lambda x: x, BLOCK, remembers=False).run(image), image


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64, torch.bool])
@pytest.mark.parametrize("function", shape.METADATA)
def test_it_says_of_itself_what_the_dense_map_says(function, dtype):
    blocks, image = blocks_of(dtype)
    assert function(blocks) == function(image)
    padded = F.pad(blocks, (1, 1, 2, 0), value=1)
    assert isinstance(padded, PaddedBlockTensor)
    assert function(padded) == function(F.pad(image, (1, 1, 2, 0), value=1))


def test_what_is_there_already_is_itself():
    blocks, _ = blocks_of()
    assert blocks.contiguous() is blocks and blocks.is_contiguous()
    for same in (torch.float32, "cpu", torch.device("cpu"), torch.zeros(1)):
        assert blocks.to(same) is blocks
    assert blocks.to(memory_format=torch.channels_last) is blocks
    assert blocks.to(torch.float32, copy=True) is not blocks


def test_gradients_are_asked_for_by_the_blocks():
    image = image_of(half_of_cells(), BLOCK)
    clip = Clip(lambda x: (x, x * 2, (x * 2).detach()), BLOCK, remembers=False)
    assert [x.requires_grad for x in clip.run(image)] == [False] * 3
    assert [x.requires_grad for x in clip.run(image.requires_grad_())] == [True, True, False]


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.to(torch.float64),
        lambda x: x.to("cpu", torch.float16),
        lambda x: x.to(dtype=torch.bfloat16, copy=True),
        lambda x: x.to(torch.zeros(1, dtype=torch.float64)),
        lambda x: x.to((x > 0).to(torch.int32)),
    ],
)
def test_types(convert):
    check_frames(convert)
    check_levels(convert)


PARTS = {
    "itself": lambda x: x,
    "another": lambda x: x * 2,
    "some channels": lambda x: x[:, 1:3],
    "a convolution": lambda x: F.conv2d(x, KERNEL, padding=1),
    "dense": lambda x: torch.linspace(0, 1, x.numel()).view(tuple(x.shape)),
    "of two types": lambda x: (x > 0).double(),
}


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(list(PARTS)), max_size=3), st.integers(0, 3), masked_grids(),
    st.sampled_from([1, -3]), st.sampled_from([torch.cat, torch.concat]),
)  # fmt: skip
def test_any_parts_side_by_side(names, at, grid, dim, function):
    names.insert(at, "another")  # at least one is in blocks
    check_frames(lambda x: function([PARTS[n](x) for n in names], dim), grid[1], grid[0])


@pytest.mark.parametrize(
    "function, reason",
    [
        (lambda x: torch.cat([x, x]), NOT_ALONG),
        (lambda x: torch.cat([x, x * 2], 2), NOT_ALONG),
        (lambda x: torch.cat([x, torch.ones(2, CHANNELS, 8, 1)], -1), NOT_ALONG),
        (lambda x: torch.cat([x, torch.empty(0)], 1), "a part of another size"),
        (lambda x: torch.cat([F.pad(x, (1, 1)), torch.ones(2, 1, 8, 20)], 1),
         "explicit padding before it"),
    ],
)  # fmt: skip
def test_other_parts_meet_on_the_composite(function, reason):
    check_frames(function, reason=reason)


def test_parts_of_one_pixel_meet_on_the_composite():
    cells = torch.tensor([[[True]], [[False]]])
    check_frames(
        lambda x: torch.cat([F.max_pool2d(x, BLOCK), torch.ones(2, 1, 1, 1)], 1), cells,
        reason="a map of one pixel",
    )  # fmt: skip


PIECES = [torch.chunk, T.chunk, torch.split, T.split, torch.tensor_split]


@pytest.mark.parametrize("function", PIECES)
@settings(max_examples=12)
@given(st.integers(1, 4), st.sampled_from([1, -3]), masked_grids())
def test_any_number_of_pieces(function, size, dim, grid):
    check_frames(lambda x: function(x, size, dim), grid[1], grid[0])


@pytest.mark.parametrize("function", PIECES[2:])
def test_pieces_of_given_sizes(function):
    sizes = [1, 3] if function is torch.tensor_split else [1, 2, 1]
    check_frames(lambda x: function(x, sizes, dim=1))
    check_levels(lambda x: function(x, sizes, dim=1))


@pytest.mark.parametrize("function", PIECES)
@pytest.mark.parametrize("dim", [0, 2, -1])
def test_pieces_along_other_axes_are_of_the_composite(function, dim):
    check_frames(lambda x: function(x, 2, dim), reason=NOT_ALONG)


@pytest.mark.parametrize("function", [*PIECES, lambda x, n, dim: (x[:, :2], x.narrow(dim, 2, 2))])
def test_what_is_written_into_a_piece_is_written_into_the_map(function):
    def apply(x):
        y, kept = x.clone(), x * 1
        first, second = function(y, 2, 1)
        first.mul_(3).add_(second)
        y.neg_()
        return y, first, second, kept

    check_frames(apply)


def test_a_narrow_map():
    for args in ((1, 1, 2), (-3, -3, 2)):
        check_frames(lambda x, args=args: x.narrow(*args))
    check_frames(lambda x: torch.narrow(x, 3, 2, 9), reason=NOT_ALONG)


sides = st.integers(-2, 3)
modes = st.sampled_from(["constant", "reflect", "replicate", "circular"])


@settings(max_examples=40)
@given(st.tuples(sides, sides, sides, sides), modes, st.floats(-1, 1), masked_grids())
def test_any_padding_that_is_looked_at(pads, mode, value, grid):
    block, cells = grid
    if mode == "circular" and min(pads) < 0:
        return  # torch leaves some of the result unwritten

    def apply(x):
        return F.pad(x, pads, mode, value if mode == "constant" else None)

    try:
        wanted = apply(image_of(cells, block))
    except (RuntimeError, ValueError):
        return  # torch refuses this padding
    if wanted.numel():
        check_frames(apply, cells, block, NO_PAD if min(pads) < 0 else None)


def test_padding_that_is_not_of_the_image_is_of_the_composite():
    check_frames(lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)), reason=NO_PAD)
    check_frames(lambda x: F.pad(x, (1, 1)) * 2, reason="explicit padding before it")


def test_no_padding_is_a_copy():
    def apply(x):
        y = F.pad(x, (0, 0, 0, 0))
        y.zero_()
        return x * 1, y

    check_frames(apply)


@pytest.mark.parametrize("source", [torch.clone, lambda x: F.conv2d(x, KERNEL[:, :, :1, :1])])
@pytest.mark.parametrize("write", [T.zero_, torch.relu_])
def test_padding_is_of_the_map_as_it_was(source, write):
    def apply(x):
        y = source(x)
        padded = F.pad(y, (0, 0, 1, 0))
        write(y)
        return F.conv2d(padded, KERNEL[:, :, :2, :1]), y

    check_frames(apply)


@settings(max_examples=30)
@given(st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 4]), masked_grids())
def test_any_shuffle(factor, groups, grid):
    block, cells = grid
    kernel = torch.linspace(-1, 1, 9 * factor**2).view(-1, 1, 3, 3)

    def grow(x):
        return F.pixel_shuffle(F.conv2d(x[:, :1], kernel, padding=1), factor)

    check_frames(grow, cells, block)
    check_frames(lambda x: F.channel_shuffle(x, groups), cells, block)
    if block[0] % factor == block[1] % factor == 0:
        check_frames(lambda x: torch.pixel_unshuffle(x, factor), cells, block)


def test_half_blocks_are_shuffled_by_channels():
    check_levels(lambda x: torch.channel_shuffle(x, 2))


@pytest.mark.parametrize(
    "function, reason",
    [
        (lambda x: F.pixel_unshuffle(x[..., ::2, ::3], 2), None),
        (lambda x: F.pixel_unshuffle(x[..., ::4, ::3], 2),
         "a factor that does not divide the block"),
        (lambda x: x.flip(3), "pixels change cells"),
        (lambda x: torch.flip(x, (1,)), "pixels change cells"),
        (lambda x: torch.roll(x, 1, 2), "pixels change cells"),
        (lambda x: x.roll((2, 3), (2, 3)), "pixels change cells"),
    ],
)  # fmt: skip
def test_what_moves_pixels_between_cells_is_of_the_composite(function, reason):
    check_frames(function, reason=reason)


@pytest.mark.parametrize(
    "function, names",
    [
        (lambda x: torch.chunk(x, chunks=2, dim=1), "chunks, dim"),
        (lambda x: torch.tensor_split(x, sections=2, dim=1), "sections, dim"),
        (lambda x: torch.narrow(input=x, dim=1, start=1, length=2), "input, dim, start, length"),
    ],
)
def test_arguments_by_name(function, names):
    check_frames(function, reason=f"arguments named {names}")
