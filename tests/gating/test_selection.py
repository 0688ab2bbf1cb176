"""As many of the best tiles as there is room for."""

import pytest
import torch

from mmdyn.gating import Selection, select_within


def plain(mask):
    return 10.0 * mask.flatten(1).sum(1)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 8)])
def test_the_room_of_each_image_is_filled_with_its_best(size):
    tiles = size[0] * size[1]
    logits = torch.randn(5, 1, *size)
    room = torch.tensor([-5.0, 0.0, 10.0 * tiles / 2 + 3, 10.0 * tiles, 1e6])
    mask, cost = select_within(logits, room, plain)
    counts = mask.flatten(1).sum(1)
    assert counts.tolist() == [0, 0, tiles // 2, tiles, tiles]
    assert torch.equal(cost, 10.0 * counts)
    best = logits[2].flatten().topk(int(counts[2])).indices
    assert bool(mask[2].flatten()[best].all())


def test_equal_logits_are_told_apart():
    mask, cost = select_within(torch.zeros(1, 1, 4, 4), torch.tensor([70.0]), plain)
    assert int(mask.sum()) == 7 and float(cost) == 70


def test_no_images_are_no_error():
    mask, cost = select_within(torch.zeros(0, 1, 4, 4), torch.zeros(0), plain)
    assert mask.shape == (0, 1, 4, 4) and len(cost) == 0


def test_what_a_block_leaves_goes_to_the_next():
    choose, logits = Selection(0.5), torch.randn(1, 1, 1, 3)
    counts = [int(choose(str(k), logits, 0.0, 30.0, plain).sum()) for k in range(4)]
    assert counts == [1, 2, 1, 2]  # 15 of 30 each: 5 are left, then none
    assert int(choose("0", logits, 0.0, 30.0, plain).sum()) == 1  # a new call
    assert int(choose("0", logits, 0.0, 30.0, plain, part=2.0).sum()) == 3
