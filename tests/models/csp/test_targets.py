"""What the maps say about people, crowds, ignored regions and odd boxes."""

import torch

from mmdyn.models.csp.coding import decode_boxes
from mmdyn.models.csp.targets import csp_targets, stack_targets

SIZE = (32, 48)  # cells; 128 x 192 px


def person(x: float, y: float, height: float, aspect: float = 0.41) -> list[float]:
    """A box around a centre."""
    w = aspect * height
    return [x - w / 2, y - height / 2, x + w / 2, y + height / 2]


def maps(*boxes: list[float], ignored=None, **options):
    rows = torch.tensor(boxes).reshape(-1, 4)
    skip = None if ignored is None else torch.tensor(ignored).reshape(-1, 4)
    return csp_targets(rows, torch.zeros(len(rows), dtype=torch.long), skip, SIZE, **options)


def decoded(found, aspect: float = 0.41) -> torch.Tensor:
    """The boxes that the maps hold at their centres."""
    cells = found.offset_weight[0].nonzero()
    rows, columns = cells.unbind(1)
    return decode_boxes(
        cells, found.offset[:, rows, columns].T, found.scale[:, rows, columns].T, 4, aspect
    )


def by_left(boxes: torch.Tensor) -> torch.Tensor:
    return boxes[boxes[:, 0].argsort()]


def test_the_maps_hold_the_boxes():
    boxes = [person(30, 50, 60), person(33, 52, 55), person(140.7, 81.3, 33), person(100, 20, 90)]
    found = maps(*boxes)
    torch.testing.assert_close(by_left(decoded(found)), by_left(torch.tensor(boxes)))


def test_the_maps_hold_widths_where_asked_for():
    boxes = [person(30, 50, 60, 0.8), person(90, 60, 40, 0.2)]
    found = maps(*boxes, width=True)
    assert found.scale.shape == (2, *SIZE)
    torch.testing.assert_close(by_left(decoded(found)), by_left(torch.tensor(boxes)))


def test_the_heat_is_one_at_the_centre_alone_and_falls_with_distance():
    heat = maps(person(98, 62, 80)).center[0]
    assert heat.shape == SIZE
    assert (heat == 1).nonzero().tolist() == [[15, 24]]
    row = heat[15, 24:30]
    assert (row[1:] <= row[:-1]).all() and 0 < row[1] < 1
    assert heat[15, 30] == 0, "beyond the box"
    length = 80 / 4
    sigma = ((length - 1) / 2 - 1) * 0.3 + 0.8
    torch.testing.assert_close(heat[18, 24], torch.tensor(-9 / (2 * sigma**2)).exp())


def test_where_bells_meet_the_higher_counts_and_centres_stay():
    heat = maps(person(60, 60, 80), person(68, 60, 80)).center[0]
    alone = maps(person(60, 60, 80)).center[0]
    assert (heat >= alone).all() and (heat == 1).sum() == 2


def test_scale_patches_have_five_cells_and_the_nearer_centre_wins():
    found = maps(person(62, 62, 80), person(74, 62, 40))  # centres three cells apart
    row = found.scale[0, 15].exp() * found.scale_weight[0, 15]
    assert found.scale_weight[0, 15].nonzero().flatten().tolist() == list(range(13, 21))
    torch.testing.assert_close(row[13:17], torch.full((4,), 20.0))
    torch.testing.assert_close(row[17:21], torch.full((4,), 10.0))
    assert found.scale_weight[0].sum(0).max() == 5


def test_patches_are_cut_at_the_border():
    found = maps(person(0.5, 0.5, 30))
    assert found.scale_weight.sum() == 9 and found.offset_weight[0, 0, 0] == 1


def test_the_tallest_of_a_cell_is_taken():
    found = maps(person(61, 61, 20), person(62, 62, 60), person(61, 62, 40))
    assert found.offset_weight.sum() == 1
    torch.testing.assert_close(decoded(found), torch.tensor([person(62, 62, 60)]))


def test_ignored_regions_weigh_nothing_but_for_the_people_in_them():
    found = maps(person(60, 60, 40), ignored=[[30.0, 30, 101, 101]])
    weight = found.center_weight[0]
    assert weight[15, 15] == 1, "the person's centre"
    assert weight[8, 8] == 0 and weight[25, 25] == 0, "touched cells"
    assert weight[6, 6] == 1 and weight[26, 26] == 1
    assert maps(person(60, 60, 40)).center_weight.min() == 1


def test_people_smaller_than_a_cell_count_in_ignored_regions():
    found = maps([57.0, 57.5, 62, 68.5], [98.0, 98, 99, 99], ignored=[[0.0, 0, 192, 128]])
    weight = found.center_weight[0]
    assert weight[found.center[0] == 1].tolist() == [1, 1] and weight[24, 24] == 1
    assert weight.sum() == 2  # neither covers a whole cell


def test_people_whose_centre_is_outside_are_left_out():
    for x, y in ((-1.0, 40.0), (40.0, -0.5), (192.0, 40.0), (40.0, 128.0), (-400.0, -400.0)):
        found = maps(person(x, y, 60))
        assert found.offset_weight.sum() == found.center.max() == 0
    found = maps(person(0.0, 0.0, 60), person(191.9, 127.9, 60))
    assert found.offset_weight.sum() == 2 and found.offset.abs().max() <= 0.5


def test_the_tallest_of_a_cell_is_taken_whatever_its_class():
    boxes, labels = torch.tensor([person(61, 61, 20), person(62, 62, 60)]), torch.tensor([0, 1])
    found = csp_targets(boxes, labels, None, SIZE, num_classes=2)
    assert [(c == 1).sum().item() for c in found.center] == [0, 1]


def test_nobody_and_nothing():
    found = maps()
    assert found.center.shape == (1, *SIZE)
    assert found.center.max() == 0 and found.center_weight.min() == 1
    assert found.scale_weight.sum() == 0 and found.offset_weight.sum() == 0
    empty = maps([10.0, 10, 10, 40], [10.0, 50, 5, 40])
    assert empty.center.max() == 0 and empty.offset_weight.sum() == 0


def test_tiny_boxes_have_a_centre_and_finite_maps():
    found = maps([20.0, 20, 20.5, 20.7], [100.0, 100, 101, 102])
    assert (found.center == 1).sum() == 2
    assert all(torch.isfinite(m).all() for m in found)


def test_classes_have_maps_of_their_own():
    boxes, labels = torch.tensor([person(40, 40, 30), person(90, 40, 30)]), torch.tensor([2, 0])
    found = csp_targets(boxes, labels, None, SIZE, num_classes=3)
    assert (found.center == 1).flatten(1).sum(1).tolist() == [1, 0, 1]
    assert found.center[2, 10, 10] == 1


def test_a_batch_stacks_its_images():
    batch = stack_targets([maps(person(40, 40, 30)), maps()])
    assert batch.center.shape == (2, 1, *SIZE) and batch.offset.shape == (2, 2, *SIZE)
    assert batch.center[1].max() == 0
