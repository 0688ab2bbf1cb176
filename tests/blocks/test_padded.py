"""Padding that waits for the next convolution or pool."""

import pytest
import torch
import torch.nn.functional as F

from mmdyn.blocks import BlockTensor
from mmdyn.blocks.padded import PaddedBlockTensor
from tests.blocks.clips import Clip, as_dense, assert_close

WEIGHT = torch.randn(3, 4, 3, 3, generator=torch.Generator().manual_seed(0))


def both(function, x):
    """The output on blocks and the dense one."""
    return Clip(function, (8, 8), remembers=False).run(x.clone()), function(x.clone())


def test_it_speaks_of_the_padded_image():
    x = torch.randn(1, 4, 16, 16)
    padded, dense = both(lambda v: F.pad(v, (1, 2, 3, 0)), x)
    assert isinstance(padded, PaddedBlockTensor)
    assert padded.shape == dense.shape == padded.size() and padded.dim() == 4
    assert padded.dtype == dense.dtype and torch.equal(padded.dense(), dense)
    assert "PaddedBlockTensor" in repr(padded)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_a_convolution_takes_it_as_its_halo(mode):
    got, wanted = both(
        lambda v: F.conv2d(F.pad(v, (1, 1, 1, 1), mode), WEIGHT), torch.randn(2, 4, 16, 24)
    )
    assert isinstance(got, BlockTensor)
    assert_close(as_dense(got), wanted)


@pytest.mark.parametrize(
    "function",
    [
        lambda v: F.pad(v, (1, 1, 1, 1)) * 2,
        lambda v: F.pad(F.pad(v, (1, 1, 1, 1)), (0, 1, 0, 1), value=2.0),
        lambda v: v + F.pad(v, (0, 8))[..., :-8],
        lambda v: torch.cat([F.pad(v, (1, 1)), F.pad(v, (1, 1))], 1),
        lambda v: F.conv2d(F.pad(v, (1, 1, 1, 1), value=0.5), WEIGHT, padding=1),
        lambda v: F.max_pool2d(F.pad(v, (1, 1, 1, 1)), 3, 1, 1),
        lambda v: F.avg_pool2d(F.pad(v, (1, 1, 1, 1), "reflect"), 3, 1),
        lambda v: F.pad(v, (-1, -1)),
        lambda v: F.pad(v, (0, 0, 0, 0, 1, 1)),
        lambda v: F.relu(F.pad(v, (1, 1, 1, 1), value=-1.0)),
    ],
)
def test_anything_else_is_exact(function):
    got, wanted = both(function, torch.randn(1, 4, 16, 16))
    assert_close(as_dense(got), wanted)


def test_what_is_written_into_the_map_later_is_not_padded():
    def function(v):
        v = F.conv2d(v, WEIGHT[:, :, :1, :1].repeat(2, 1, 1, 1)[:4])
        padded = F.pad(v, (1, 1, 1, 1))
        v.relu_()
        return F.conv2d(padded, WEIGHT) + v[:, :3]

    with torch.no_grad():
        got, wanted = both(function, torch.randn(1, 4, 16, 16))
    assert_close(as_dense(got), wanted)
