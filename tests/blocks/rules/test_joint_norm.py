"""Batch norm over two resolutions against a dense computation with a weight for every pixel."""

import copy

import pytest
import torch
from torch import nn

from mmdyn.blocks import BlockTensor, joint_batch_norm
from tests.blocks.clips import Clip, all_half, assert_close, half_of

BLOCK, SIZE, CHANNELS = (4, 6), (8, 18), 4
MIXED = torch.tensor([[[1, 2, 1], [2, 2, 1]], [[2, 1, 1], [1, 2, 2]]])


def image() -> torch.Tensor:
    return torch.randn(2, CHANNELS, *SIZE, dtype=torch.float64) * 2 + 3


def weighted(blocks, halves, weight, bias, eps=1e-5):
    """Batch norm by definition: every pixel in a row, with its area; autograd does the rest."""
    rows = [v.permute(1, 0, 2, 3).flatten(1) for v in (blocks, halves)]
    area = torch.cat([torch.ones(rows[0].shape[1]), torch.full((rows[1].shape[1],), 4.0)]).double()
    share = area / area.sum()
    x = torch.cat(rows, 1)
    mean = (x * share).sum(1, keepdim=True)
    var = ((x - mean).square() * share).sum(1, keepdim=True)
    out = (x - mean) / (var + eps).sqrt()
    if weight is not None:
        out = out * weight[:, None] + bias[:, None]
    return out, mean[:, 0], var[:, 0] * area.sum() / (area.sum() - 1)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_outputs_gradients_and_running_statistics(affine, momentum):
    norm = nn.BatchNorm2d(CHANNELS, affine=affine, momentum=momentum).double()
    if affine:
        norm.weight.data.uniform_(0.5, 2), norm.bias.data.normal_()
    clip, wanted_mean = Clip(norm, BLOCK, remembers=False), torch.zeros(CHANNELS).double()
    wanted_var = torch.ones(CHANNELS).double()
    for step in range(1, 4):
        x = image().requires_grad_()
        out = clip.run(x, MIXED)
        got = torch.cat([v.permute(1, 0, 2, 3).flatten(1) for v in out.packed], 1)
        (got**3).sum().backward()
        ours = [x.grad, *(p.grad.clone() for p in norm.parameters())]
        norm.zero_grad()

        y = x.detach().clone().requires_grad_()
        levels = Clip(lambda v: v, BLOCK, remembers=False).run(y, MIXED).packed
        wanted, mean, var = weighted(*levels, norm.weight, norm.bias)
        (wanted**3).sum().backward()
        assert_close(got.detach(), wanted.detach())
        for grad, other in zip(ours, [y.grad, *(p.grad for p in norm.parameters())], strict=True):
            assert_close(grad, other)
        norm.zero_grad()

        rate = 1 / step if momentum is None else momentum
        wanted_mean.lerp_(mean.detach(), rate), wanted_var.lerp_(var.detach(), rate)
        assert_close(norm.running_mean, wanted_mean)
        assert_close(norm.running_var, wanted_var)


def test_without_running_statistics_it_normalises_in_evaluation_too():
    norm = nn.BatchNorm2d(CHANNELS, track_running_stats=False).double().eval()
    x = image()
    out = Clip(norm, BLOCK, remembers=False).run(x, MIXED)
    wanted, *_ = weighted(*Clip(lambda v: v, BLOCK, remembers=False).run(x, MIXED).packed,
                          norm.weight, norm.bias)  # fmt: skip
    got = torch.cat([v.permute(1, 0, 2, 3).flatten(1) for v in out.packed], 1)
    assert_close(got.detach(), wanted.detach())


def test_one_resolution_is_torchs_own_on_that_resolution():
    for cells, see in (("all", lambda x: x), (all_half(image(), BLOCK), half_of)):
        mine, x = nn.BatchNorm2d(CHANNELS).double(), image()
        stock = copy.deepcopy(mine)
        out = Clip(mine, BLOCK, remembers=False).run(x, cells)
        packed = out.blocks if isinstance(cells, str) else out.halves
        assert_close((packed**3).sum().detach(), (stock(see(x)) ** 3).sum().detach())
        for name, value in stock.state_dict().items():
            assert torch.allclose(mine.state_dict()[name], value), name


def test_a_large_mean_does_not_cancel():
    x = (torch.randn(2, CHANNELS, *SIZE) + 3000).requires_grad_()
    norm = nn.BatchNorm2d(CHANNELS)
    out = Clip(norm, BLOCK, remembers=False).run(x, MIXED)
    levels = Clip(lambda v: v, BLOCK, remembers=False).run(x.detach().double(), MIXED).packed
    wanted, *_ = weighted(*levels, norm.weight.double(), norm.bias.double())
    got = torch.cat([v.permute(1, 0, 2, 3).flatten(1) for v in out.packed], 1)
    assert float((got - wanted).detach().abs().max()) < 2e-3


def test_bfloat16_maps_have_float32_statistics():
    x = (torch.randn(2, CHANNELS, *SIZE) + 30).bfloat16().requires_grad_()
    norm = nn.BatchNorm2d(CHANNELS)
    out = Clip(norm, BLOCK, remembers=False).run(x, MIXED)
    levels = Clip(lambda v: v, BLOCK, remembers=False).run(x.detach(), MIXED).packed
    _, mean, _ = weighted(*(v.double() for v in levels), None, None)
    assert torch.allclose(norm.running_mean.double(), 0.1 * mean, rtol=1e-5)
    sum(v.float().sum() for v in out.packed).backward()
    assert out.dtype == x.grad.dtype == torch.bfloat16 and bool(x.grad.isfinite().all())


def test_sums_of_several_processes_give_the_statistics_of_all_images():
    """Two processes that hold the same images: sums double, the result is that of one."""
    x, calls = image().requires_grad_(), []

    def reduce(sums):
        calls.append(sums.shape)
        return sums * 2

    norms = [nn.BatchNorm2d(CHANNELS).double() for _ in range(2)]
    outs = []
    for norm, how in zip(norms, (None, reduce), strict=True):

        def run(v: BlockTensor, norm=norm, how=how):
            stats = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
            return joint_batch_norm(v, *stats, 0.1, norm.eps, how)

        out = Clip(run, BLOCK, remembers=False).dense(x, MIXED)
        (gradient,) = torch.autograd.grad((out**3).sum(), x)
        outs.append((out.detach(), gradient))
    assert_close(outs[1][0], outs[0][0])
    assert_close(outs[1][1], outs[0][1])
    assert len(calls) == 3  # mean, variance, and once backward
    n = 2 * SIZE[0] * SIZE[1]
    ratio = (2 * n / (2 * n - 1)) / (n / (n - 1))  # the unbiased count is that of all images
    news = [norm.running_var - 0.9 for norm in norms]
    assert torch.allclose(news[1], news[0] * ratio)


@pytest.mark.parametrize(("dtype", "near"), [(torch.bfloat16, 1.5e-3), (torch.float16, 1e-4)])
def test_half_types_are_rounded_once(dtype, near):
    """A channel's gradients add up to nothing: what all are off by would add up in the weights."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(4, CHANNELS, 32, 48, generator=generator) + 3).to(dtype).requires_grad_()
    norm, size = nn.BatchNorm2d(CHANNELS), (8, 12)
    cells = torch.randint(1, 3, (4, 4, 4), generator=generator)
    upstream = (1 + torch.randn(x.shape, generator=generator)).to(dtype)
    upstream = Clip(lambda v: v, size, remembers=False).run(upstream, cells)
    out = Clip(norm, size, remembers=False).run(x, cells)
    torch.autograd.backward(out.packed, upstream.packed)
    grads = x.grad.double()
    assert (grads.sum((0, 2, 3)).abs() <= near * grads.abs().sum((0, 2, 3))).all()


def test_half_types_do_not_overflow():
    x = (1e-2 * torch.randn(2, CHANNELS, *SIZE)).half().requires_grad_()
    norm = nn.BatchNorm2d(CHANNELS)
    out = Clip(norm, BLOCK, remembers=False).run(x, MIXED)
    sum((16 * v.float() * torch.randn_like(v.float())).sum() for v in out.packed).backward()
    assert x.grad.isfinite().all()
