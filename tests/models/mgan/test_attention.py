"""The mask multiplies the features that came in; its targets are areas of visible boxes."""

import pytest

pytest.importorskip("mmcv.cnn")

import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdyn.models.mgan.attention import MGANAttention, visible_share


def test_the_features_that_came_in_are_multiplied():
    torch.manual_seed(0)
    attention = MGANAttention(in_channels=6, conv_channels=4)
    features = torch.randn(3, 6, 7, 7)
    attended, logits = attention(features)
    assert logits.shape == (3, 1, 7, 7)
    torch.testing.assert_close(attended, features * logits.sigmoid())


def test_it_starts_near_a_half_everywhere_and_all_of_it_learns():
    attention = MGANAttention(in_channels=6, conv_channels=8)
    attention.init_weights()
    features = torch.randn(2, 6, 7, 7, requires_grad=True)
    attended, logits = attention(features)
    assert (logits.sigmoid() - 0.5).abs().max() < 0.01
    attended.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in attention.parameters())
    assert features.grad.abs().sum() > 0


def test_a_half_visible_person_is_half_a_mask():
    box = torch.tensor([[10.0, 20.0, 24.0, 48.0]])
    part = torch.tensor([[10.0, 20.0, 24.0, 34.0]])
    share = visible_share(box, part, (7, 7))[0]
    assert share[:3].eq(1).all() and share[4:].eq(0).all()
    torch.testing.assert_close(share[3], torch.full((7,), 0.5))


def test_all_visible_is_one_and_elsewhere_zero():
    box = torch.tensor([[10.0, 20.0, 24.0, 48.0]] * 3)
    part = torch.tensor([[0.0, 0.0, 99.0, 99.0], [50.0, 20.0, 60.0, 48.0], [12, 22, 12, 22]])
    share = visible_share(box, part, (7, 5))
    assert share.shape == (3, 7, 5)
    torch.testing.assert_close(share[0], torch.ones(7, 5))
    assert share[1].eq(0).all() and share[2].eq(0).all()


def test_proposals_without_area_and_without_number():
    flat = torch.tensor([[5.0, 5.0, 5.0, 9.0]])
    assert visible_share(flat, torch.tensor([[0.0, 0.0, 9.0, 9.0]]), (7, 7)).eq(0).all()
    assert visible_share(torch.zeros(0, 4), torch.zeros(0, 4), (7, 7)).shape == (0, 7, 7)


_BOX = st.tuples(*[st.floats(0, 50)] * 2, *[st.floats(1, 50)] * 2)


@given(_BOX, _BOX, st.integers(1, 9), st.integers(1, 9))
def test_shares_add_up_to_the_common_area(a, b, h, w):
    box, part = (torch.tensor([[x, y, x + dx, y + dy]]) for x, y, dx, dy in (a, b))
    share = visible_share(box, part, (h, w))[0]
    sides = (torch.minimum(box[0, 2:], part[0, 2:]) - torch.maximum(box[0, :2], part[0, :2])).clamp(
        0
    )
    cell = (box[0, 2:] - box[0, :2]).prod() / (h * w)
    torch.testing.assert_close(share.sum() * cell, sides.prod(), atol=2e-2, rtol=1e-3)
