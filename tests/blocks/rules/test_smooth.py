"""Half-resolution blocks next to full ones: enlarged without seams."""

import pytest
import torch
import torch.nn.functional as F

from mmdyn.blocks import smooth
from tests.blocks.clips import Clip, all_half, assert_close, half_of

BLOCK, SIZE = (8, 12), (24, 36)
MIXED = torch.tensor([[[1, 2, 1], [2, 2, 1], [1, 1, 2]]])


def ramp(slope=(0.5, -0.25)) -> torch.Tensor:
    """An image of constant gradient."""
    y, x = (torch.arange(n, dtype=torch.float64) for n in SIZE)
    return (1.0 + slope[0] * y[:, None] + slope[1] * x[None, :]).expand(1, 2, -1, -1).contiguous()


def inner(x: torch.Tensor, margin: int) -> torch.Tensor:
    """Without the image's border, where no neighbour continues the gradient."""
    return x[..., margin:-margin, margin:-margin]


def test_a_constant_gradient_shows_no_grid():
    out = smooth(Clip(lambda x: x, BLOCK, remembers=False).run(ramp(), MIXED))
    assert_close(inner(out, 1), inner(ramp(), 1))
    # The plain composite shows half-resolution pixels as squares.
    squares = Clip(lambda x: x, BLOCK, remembers=False).dense(ramp(), MIXED)
    assert float((squares - ramp()).abs().max()) > 0.3


@pytest.mark.parametrize("factor", [2, 4])
def test_a_constant_gradient_shows_no_grid_after_up_sampling(factor):
    def up(x):
        return F.interpolate(x, scale_factor=factor, mode="bilinear")

    out = smooth(Clip(up, BLOCK, remembers=False).run(ramp(), MIXED))
    assert_close(inner(out, 3 * factor), inner(up(ramp()), 3 * factor))


def test_all_half_is_the_averaged_image_enlarged():
    x = torch.randn(2, 3, *SIZE, dtype=torch.float64)
    out = smooth(Clip(lambda v: v, BLOCK, remembers=False).run(x, all_half(x, BLOCK)))
    assert_close(out, F.interpolate(half_of(x), scale_factor=2, mode="bilinear"))


def test_all_full_is_the_image_and_a_copy_of_it():
    x = torch.randn(1, 3, *SIZE)
    blocks = Clip(lambda v: v, BLOCK, remembers=False).run(x)
    out = smooth(blocks)
    assert torch.equal(out, x)
    out.zero_()
    assert torch.equal(blocks.dense(), x)


def test_labels_are_not_blended():
    x = torch.randint(0, 9, (1, 1, *SIZE))
    out = smooth(Clip(lambda v: v, BLOCK, remembers=False).run(x, MIXED))
    assert out.dtype == torch.int64 and set(out.unique().tolist()) <= set(x.unique().tolist())


def test_gradients_flow_through_both_resolutions():
    def apply(x):
        clip = Clip(lambda v: F.interpolate(v, scale_factor=2, mode="bilinear"), BLOCK, False)
        return smooth(clip.run(x, MIXED))

    x = torch.randn(1, 1, *SIZE, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 1, *(2 * s for s in SIZE), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((apply(x) * weight).sum(), x)
    step = torch.randn_like(x)  # the function is linear: one difference is exact
    assert torch.allclose((gradient * step).sum(), ((apply(x + step) - apply(x)) * weight).sum())
