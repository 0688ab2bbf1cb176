"""Dropout on blocks."""

import pytest
import torch
import torch.nn.functional as F

from tests.blocks.clips import Clip, all_half
from tests.blocks.rules.laws import BLOCK, CHANNELS, check_frames, half_of_cells, image_of


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("function", [F.dropout, F.dropout2d])
def test_dropout_in_training_draws_what_the_dense_network_draws(function, inplace):
    def apply(x):
        torch.manual_seed(5)
        return function(x + 0, 0.4, True, inplace)

    check_frames(apply)


@pytest.mark.parametrize("function", [F.dropout, F.dropout2d])
def test_dropout_drops_half_resolution_pixels_too(function):
    ones = torch.ones(2, CHANNELS, 2 * BLOCK[0], 3 * BLOCK[1])
    out = Clip(lambda x: function(x, 0.4), BLOCK, remembers=False).run(ones, all_half(ones, BLOCK))
    values = sorted(out.halves.unique().tolist())
    assert values == pytest.approx([0.0, 1 / 0.6])
    if function is F.dropout2d:  # a channel of an image lives or dies in all of its blocks
        of_image = out.halves.view(2, -1, CHANNELS, *out.halves.shape[2:])
        assert torch.equal(of_image.amax((1, 3, 4)), of_image.amin((1, 3, 4)))


def test_alpha_dropout_in_training_is_for_the_dense_frame():
    def apply(x):
        torch.manual_seed(5)
        return F.alpha_dropout(x, 0.4, True)

    check_frames(apply, reason="alpha dropout in training mode")


def test_dropout_in_evaluation_gives_its_input():
    clip = Clip(lambda x: F.dropout2d(x, 0.4, False) is x, BLOCK)
    assert clip.run(image_of(half_of_cells(), BLOCK))
