"""Statistics of whole frames and batches."""

import copy

import pytest
import torch
from torch import nn

from tests.blocks.clips import Clip, all_half, assert_close

SIZE = (16, 24)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_in_training_takes_joint_statistics(affine, momentum):
    stock = nn.BatchNorm2d(4, affine=affine, momentum=momentum).double()
    mine, x = copy.deepcopy(stock), torch.randn(3, 4, *SIZE).double() * 2 + 1
    for step in range(2):
        a, b = (x.clone().requires_grad_() for _ in range(2))
        wanted, got = stock(a), Clip(mine, (8, 8), remembers=False).dense(b)
        assert_close(got, wanted)
        (wanted**3).sum().backward(), (got**3).sum().backward()
        assert_close(b.grad, a.grad)
        for name, value in stock.state_dict().items():
            assert torch.allclose(mine.state_dict()[name], value), (name, step)
        for p, q in zip(mine.parameters(), stock.parameters(), strict=True):
            assert_close(p.grad, q.grad)


def test_a_half_pixel_counts_for_the_four_it_stands_for():
    norm, x = nn.BatchNorm2d(4).double(), torch.randn(1, 4, *SIZE).double()
    x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)  # each half pixel is four equal ones
    stock = copy.deepcopy(norm)
    mixed = torch.tensor([[[1, 2, 1], [2, 2, 1]]])
    got = Clip(norm, (16, 16), remembers=False).dense(x, mixed)
    assert_close(got, stock(x))
    # Each half pixel stands for four: the unbiased count is the same.
    assert torch.allclose(norm.running_var, stock.running_var)


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm([4, *SIZE])]
)
def test_half_frames_are_normalised_like_the_averaged_image(norm):
    norm, x = norm.double(), torch.randn(2, 4, *SIZE).double()
    coarse = nn.functional.avg_pool2d(x, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    got = Clip(norm, (8, 8), remembers=False).dense(x, all_half(x, (8, 8)))
    assert_close(got, norm(coarse))


def test_large_means_do_not_cancel():
    x = torch.randn(1, 4, *SIZE) + 3000
    norm = nn.GroupNorm(2, 4)
    wanted = norm.double()(x.double()).float()
    got = Clip(norm.float(), (8, 8), remembers=False).dense(x)
    assert float((got - wanted).abs().max()) < 2e-3
