"""Which convolution runs where, and what that costs."""

import pytest
import torch
import torch.nn.functional as F

from mmdyn.gating.branch import ConvShape, run_masked
from tests.gating.residual import BLOCKS, described, made, masks, weights_of

SIZE = (13, 18)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_position_is_read_exactly_if_an_open_output_depends_on_it(kernel, stride, dilation):
    shape = ConvShape(1, 1, (kernel,) * 2, (stride,) * 2, (dilation,) * 2)
    x = torch.zeros(1, 1, *SIZE, dtype=torch.float64, requires_grad=True)
    weight = torch.ones(1, 1, kernel, kernel, dtype=torch.float64)
    out = F.conv2d(x, weight, None, stride, shape.padding, dilation)
    assert tuple(out.shape[2:]) == shape.out_size(SIZE)
    for name, mask in masks(1, shape.out_size(SIZE)).items():
        (seen,) = torch.autograd.grad(out[mask].sum(), x, retain_graph=True)
        read = shape.read_by(mask.double(), SIZE)
        assert torch.equal(read > 0, seen > 0), name


@pytest.mark.parametrize("kind", BLOCKS)
def test_an_open_mask_gives_the_stock_block(kind):
    block, x = made(kind), torch.randn(2, 8 if "bottleneck" not in kind else 16, *SIZE)
    branch = described(block)
    with torch.no_grad():
        out = run_masked(block, branch, weights_of(block, branch), x, None)
        assert torch.allclose(out, block(x), atol=1e-5)


@pytest.mark.parametrize("kind", BLOCKS)
def test_what_the_masks_leave_out_is_not_needed(kind):
    """Each convolution's result may be anything where its mask is closed."""
    block, channels = made(kind), 8 if "bottleneck" not in kind else 16
    branch, x = described(block), torch.randn(2, channels, *SIZE)
    weights = weights_of(block, branch)
    mask = masks(2, branch.sizes(SIZE)[-1])["some"]
    with torch.no_grad():
        wanted = run_masked(block, branch, weights, x, mask)
        rows = x
        for step, (weight, bias), part in zip(
            branch.steps, weights, branch.masks(mask.float(), SIZE)
        ):
            s = step.shape
            rows = F.conv2d(rows, weight, bias, s.stride, s.padding, s.dilation, s.groups)
            rows = torch.where(part > 0, step.epilogue(rows, None), torch.full_like(rows, 1e6))
        other = x if branch.shortcut is None else block.downsample(x)
        found = branch.after(torch.where(mask, rows, 0.0) + other, None)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_macs_of_a_block_are_those_of_its_convolutions():
    branch = described(made("bottleneck groups stride 2"))
    height, width = SIZE
    after = -(-height // 2) * -(-width // 2)
    assert branch.macs(SIZE) == height * width * 16 * 8 + after * (8 * 4 * 9 + 8 * 24)


@pytest.mark.parametrize("kind", BLOCKS)
def test_an_open_mask_executes_everything_and_a_closed_one_nothing(kind):
    branch = described(made(kind))
    kinds = masks(3, branch.sizes(SIZE)[-1])
    full = branch.executed(kinds["full"].float(), SIZE)
    if "stride 2" not in kind or "caffe" in kind:
        assert full.tolist() == pytest.approx([branch.macs(SIZE)] * 3)
    assert float(full.max()) <= branch.macs(SIZE)
    assert branch.executed(kinds["empty"].float(), SIZE).tolist() == [0.0] * 3


def test_the_dilated_mask_passes_the_gradient_on():
    branch = described(made("basic"))
    mask = torch.zeros(1, 1, *SIZE, requires_grad=True)
    (first, second) = branch.masks(mask, SIZE)
    assert second is mask
    first.sum().backward()
    assert float(mask.grad.sum()) == pytest.approx(SIZE[0] * SIZE[1])


def test_an_isolated_pixel_costs_its_neighbourhood():
    branch = described(made("basic"))
    mask = torch.zeros(1, 1, *SIZE)
    mask[0, 0, 6, 6] = 1
    f1, f2 = (step.shape.macs for step in branch.steps)
    assert float(branch.executed(mask, SIZE)) == 9 * f1 + f2
