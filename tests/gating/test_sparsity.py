"""The loss on open gates."""

import pytest
import torch

from mmdyn.gating import Cost, block_shares, network_share, sparsity_loss


def costs(*shares, totals=None, gate=0.0):
    """A block a list of shares, one an image."""
    totals = totals or [1.0] * len(shares)
    return [
        Cost(torch.tensor(s, dtype=torch.float64) * t, gate * t, t) for s, t in zip(shares, totals)
    ]


def test_shares_weigh_blocks_by_their_arithmetic_and_count_gates():
    found = costs([0.5, 1.0], [0.0, 0.5], totals=[1.0, 3.0], gate=0.1)
    assert block_shares(found).tolist() == [pytest.approx([0.6, 1.1]), pytest.approx([0.1, 0.6])]
    assert network_share(found).tolist() == pytest.approx([0.9 / 4, 2.9 / 4])


def test_at_the_start_every_block_is_held_to_the_budget():
    loss, density = sparsity_loss(costs([0.3], [0.7]), 0.5, progress=0.0)
    assert float(density) == pytest.approx(0.5) and float(loss) == pytest.approx(0.04)


def test_later_only_the_network_is():
    for progress in (1 / 3, 0.8):
        assert float(sparsity_loss(costs([0.0], [1.0]), 0.5, progress)[0]) == pytest.approx(0)
    assert float(sparsity_loss(costs([0.2], [0.2]), 0.5, 0.9)[0]) == pytest.approx(0.09)


def test_a_batch_may_balance_its_images_or_not():
    found = costs([0.2, 0.8])
    assert float(sparsity_loss(found, 0.5, 1.0, per="batch")[0]) == pytest.approx(0.0)
    assert float(sparsity_loss(found, 0.5, 1.0, per="image")[0]) == pytest.approx(0.09)


def test_blocks_of_rois_weigh_with_all_of_them():
    found = costs([0.2, 0.4], [1.0, 0.5, 0.0, 0.5, 0.5], totals=[10.0, 4.0], gate=0.1)
    loss, density = sparsity_loss(found, 0.5, 1.0)
    assert float(density) == pytest.approx((6 + 2 + 10 + 2) / 40)
    assert float(loss) == pytest.approx(0.0)
    first, _ = sparsity_loss(found, 0.5, 0.0)
    assert float(first) == pytest.approx((0.1**2 + 0.1**2) / 2)


@pytest.mark.parametrize("per", ["batch", "image"])
@pytest.mark.parametrize("progress", [0.0, 0.2, 0.9])
def test_gradients_agree_with_differences(per, progress):
    def loss(first, second):
        found = [Cost(first, 0.3, 10.0), Cost(second, 0.1, 4.0)]
        return sparsity_loss(found, 0.45, progress, per=per)[0]

    shares = [torch.rand(3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    inputs = (shares[0] * 10, shares[1] * 4)
    assert torch.autograd.gradcheck(loss, tuple(i.detach().requires_grad_() for i in inputs))
