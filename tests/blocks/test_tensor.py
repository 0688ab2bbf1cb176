"""The block tensor tells the truth about itself, and its composites are exact."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdyn.blocks import BlockGrid, BlockTensor, Frame, Level, split
from mmdyn.video import FeatureMemory


def blocks_of(image, levels, block, memory=None):
    grid = BlockGrid(levels, block)
    if memory is not None:
        memory.begin(grid)
    return split(Frame(grid, memory), image, block)


def everywhere(image, block):
    size = (image.shape[2] // block[0], image.shape[3] // block[1])
    return torch.ones(image.shape[0], *size, dtype=torch.uint8)


def test_it_speaks_of_the_image():
    image = torch.randn(2, 5, 16, 24)
    x = blocks_of(image, everywhere(image, (8, 8)), (8, 8))
    assert x.shape == image.shape == x.size() and x.size(-1) == 24 and x.dim() == x.ndim == 4
    assert x.numel() == image.numel() and len(x) == 2 and x.nelement() == image.numel()
    assert (x.dtype, x.device, x.layout) == (image.dtype, image.device, image.layout)
    assert x.is_floating_point() and not x.requires_grad and not x.is_cuda
    assert x.shape[2:] == (16, 24) and isinstance(x.shape, torch.Size)
    assert repr(x).startswith("BlockTensor((2, 5, 16, 24), torch.float32, 12 full and 0 half of 12")


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.data())
def test_split_then_dense_is_the_composite(images, gh, gw, halves, data):
    block = (4, 6)
    image = torch.randn(images, 2, gh * 4, gw * 6)
    other = torch.randn_like(image)
    total = images * gh * gw
    drawn = data.draw(st.lists(st.integers(0, 2 if halves else 1), min_size=total, max_size=total))
    levels = torch.tensor(drawn, dtype=torch.uint8).view(images, gh, gw)
    memory = FeatureMemory()
    blocks_of(other, torch.ones_like(levels), block, memory).dense()
    dense = blocks_of(image, levels, block, memory).dense()
    coarse = (
        torch.nn.functional.avg_pool2d(image, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    )
    where = levels[:, None].repeat_interleave(4, 2).repeat_interleave(6, 3)
    wanted = torch.where(where == 1, image, torch.where(where == 2, coarse, other))
    assert torch.equal(dense, wanted)


def test_dense_is_a_copy_and_composite_is_made_once():
    image = torch.randn(1, 2, 8, 8)
    x = blocks_of(image, everywhere(image, (4, 4)), (4, 4), FeatureMemory())
    assert x.composite() is x.composite()
    x.dense().zero_()
    assert torch.equal(x.dense(), image)


@pytest.mark.parametrize("level", [Level.FULL, Level.HALF])
def test_the_composite_follows_writes(level):
    image = torch.randn(1, 2, 8, 8)
    x = blocks_of(image, torch.full((1, 2, 2), int(level)), (4, 4))
    before = x.dense()
    x.mul_(2)
    assert torch.equal(x.dense(), before * 2)
    x.overwrite(torch.ones(1, 2, 8, 8))
    assert torch.equal(x.dense(), torch.ones(1, 2, 8, 8))


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.__iand__(torch.tensor([[[[3]]]])),
        lambda x: x.__ior__(4),
        lambda x: x.floor_divide_(2),
        lambda x: x.__ifloordiv__(2),
        lambda x: x.remainder_(3),
        lambda x: x.index_fill_(3, torch.tensor([1, 5]), 7),
        lambda x: x.__setitem__((0, slice(None), 2), 9),
        lambda x: torch.add(x, 1, out=x),
    ],
)
def test_writes_without_a_rule_reach_the_blocks(write):
    image = torch.randint(0, 100, (1, 2, 8, 8))
    x = blocks_of(image, everywhere(image, (4, 4)), (4, 4))
    write(x)
    write(image)
    assert torch.equal(x.dense(), image)


def test_writing_a_result_into_a_dense_tensor():
    image, out = torch.randn(1, 2, 8, 8), torch.empty(1, 2, 8, 8)
    x = blocks_of(image, everywhere(image, (4, 4)), (4, 4))
    assert torch.add(x, 1, out=out) is out
    assert torch.equal(out, image + 1)


def test_operands_that_broadcast_to_more_images():
    image, many = torch.randn(1, 2, 8, 8), torch.randn(3, 2, 1, 1)
    x = blocks_of(image, everywhere(image, (4, 4)), (4, 4))
    for other in (many, torch.randn(3, 2, 8, 8), torch.randn(8, 1), torch.randn(1, 1, 1, 2, 8, 8)):
        got = x * other
        assert torch.equal(getattr(got, "dense", lambda g=got: g)(), image * other)


def test_what_has_no_rule_runs_on_the_exact_composite():
    image = torch.randn(1, 3, 8, 8)
    x = blocks_of(image, everywhere(image, (4, 4)), (4, 4))
    assert torch.equal(x.cumsum(2), image.cumsum(2))
    assert torch.equal(torch.linalg.norm(x), torch.linalg.norm(image))
    assert torch.equal(torch.stack([x, x]), torch.stack([image, image]))
    assert torch.equal(x[0], image[0]) and torch.equal(x[:, None], image[:, None])
    assert (x.numpy() == image.numpy()).all()
    assert {site.op for site in x.frame.dense_sites.values()} >= {"cumsum", "stack"}


def test_halves_of_numbers_that_have_no_mean():
    image = torch.randint(0, 9, (1, 2, 8, 8))
    x = blocks_of(image, torch.full((1, 2, 2), 2), (4, 4))
    assert isinstance(x, BlockTensor) and x.halves.dtype == torch.int64
    wanted = image[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(x.dense(), wanted)
