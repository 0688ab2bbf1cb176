"""CSP's neck: one stride, unit length, learnt gains; refuses what does not fit."""

import pytest
import torch

pytest.importorskip("mmdet")

from mmdyn.models.csp import CSPNeck, L2Norm


def features(batch: int = 2, side: int = 64) -> list[torch.Tensor]:
    return [torch.randn(batch, c, side // s, side // s) for c, s in ((6, 8), (8, 16), (10, 16))]


def test_all_stages_come_to_stride_4_side_by_side():
    neck = CSPNeck((6, 8, 10), (8, 16, 16), out_channels=5)
    (out,) = neck(features())
    assert out.shape == (2, 15, 16, 16)
    assert [tuple(d.kernel_size) for d in neck.deconvs] == [(4, 4)] * 3
    assert [d.stride[0] for d in neck.deconvs] == [2, 4, 4]
    assert [d.padding[0] for d in neck.deconvs] == [1, 0, 0]


def test_every_pixel_has_the_length_of_the_gain():
    norm = L2Norm(7, gain=10.0)
    out = norm(torch.randn(2, 7, 3, 5) * 50)
    torch.testing.assert_close(out.norm(dim=1), torch.full((2, 3, 5), 10.0))


def test_l2_norm_against_its_formula_with_gains_of_their_own():
    norm, x = L2Norm(4), torch.randn(1, 4, 3, 3)
    norm.weight.data = torch.tensor([1.0, 2.0, 3.0, 4.0])
    expected = x / x.square().sum(1, keepdim=True).sqrt() * norm.weight[None, :, None, None]
    torch.testing.assert_close(norm(x), expected)


def test_zeros_and_half_precision_stay_finite():
    norm = L2Norm(3)
    x = torch.zeros(1, 3, 2, 2, requires_grad=True)
    norm(x).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(norm(torch.full((1, 3, 2, 2), 6e4, dtype=torch.half))).all()


def test_gains_learn():
    neck = CSPNeck((6, 8, 10), (8, 16, 16), out_channels=5)
    neck(features())[0].square().sum().backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_refusals_name_the_remedy():
    with pytest.raises(ValueError, match="stride 4 must be 2, 4 or 8 times out_stride 4"):
        CSPNeck((6,), (4,))
    with pytest.raises(ValueError, match="must name the same outputs"):
        CSPNeck((6, 8), (8,))
    neck, (fine, *coarse) = CSPNeck((6, 8, 10), (8, 16, 16), out_channels=5), features()
    with pytest.raises(ValueError, match=r"\(14, 16\).*multiples of 16 .*pad_size_divisor"):
        neck([fine[:, :, :7], *coarse])
    with pytest.raises(ValueError, match="built for 3 feature maps and got 2"):
        CSPNeck((6, 8, 10), (8, 16, 16), out_channels=5)(features()[:2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_of_half_precision_gets_its_own_type(dtype):
    norm = L2Norm(4).to(dtype)
    x = torch.randn(1, 4, 3, 3)
    assert norm(x.to(dtype)).dtype == dtype
    assert torch.allclose(norm(x.to(dtype)).float().norm(dim=1), torch.tensor(10.0), rtol=0.02)
