"""The centre loss: its formula, its weights, and gradients where probabilities round to 1."""

import pytest
import torch

from mmdyn.models.csp.loss import CenterFocalLoss


def logits_and_target():
    pred = torch.randn(2, 1, 5, 6, dtype=torch.float64)
    target = torch.rand(2, 1, 5, 6, dtype=torch.float64) * 0.9
    target[0, 0, 2, 3] = target[1, 0, 1, 1] = 1.0
    return pred, target


def test_against_the_formula_in_probabilities():
    pred, target = logits_and_target()
    p = pred.sigmoid()
    terms = torch.where(
        target == 1, -p.log() * (1 - p) ** 2, -(1 - p).log() * p**2 * (1 - target) ** 4
    )
    found = CenterFocalLoss(loss_weight=0.01)(pred, target, avg_factor=2)
    torch.testing.assert_close(found.double(), 0.01 * terms.sum() / 2, rtol=1e-5, atol=1e-8)


def test_like_the_stock_loss_of_the_zoo():
    mmdet = pytest.importorskip("mmdet.models.losses")
    pred, target = (x.float() for x in logits_and_target())
    stock = mmdet.GaussianFocalLoss(alpha=2.0, gamma=4.0)(pred.sigmoid(), target, avg_factor=2)
    torch.testing.assert_close(CenterFocalLoss()(pred, target, avg_factor=2), stock)


def test_ignored_places_have_neither_loss_nor_gradient():
    pred, target = (x.float() for x in logits_and_target())
    pred.requires_grad_()
    weight = torch.ones(2, 1, 5, 6)
    weight[:, :, 2:] = 0
    CenterFocalLoss()(pred, target, weight).backward()
    assert (pred.grad[:, :, 2:] == 0).all() and (pred.grad[:, :, :2] != 0).all()


def test_confident_mistakes_keep_their_gradient():
    pred = torch.tensor([[[[60.0, -60.0]]]], requires_grad=True)
    loss = CenterFocalLoss()(pred, torch.tensor([[[[0.0, 1.0]]]]))
    loss.backward()
    torch.testing.assert_close(loss, torch.tensor(120.0))
    assert pred.grad[0, 0, 0, 0] > 0.9 and pred.grad[0, 0, 0, 1] < -0.9


def test_perfect_maps_cost_nothing():
    _, target = logits_and_target()
    target = (target == 1).float()
    assert CenterFocalLoss()((target - 0.5) * 40, target) < 1e-6
