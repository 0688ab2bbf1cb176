"""Boxes and masks on cells, and pictures of task outputs."""

import pytest
import torch

from mmdyn.policies import TaskOutput, task_map
from mmdyn.policies.painting import paint_boxes, paint_masks, sample_logits

SIZE = (64, 96)


def random_boxes(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([110.0, 80.0]) - 8.0
    return torch.cat(
        [corner, corner + torch.rand(count, 2, generator=generator) * 40.0 - 2.0], 1
    ).round()


@pytest.mark.parametrize("grid", [(2, 3), (4, 6), (1, 1), (5, 7)])
def test_boxes_on_cells_equal_a_plain_loop(grid):
    boxes, values = random_boxes(30), torch.rand(30)
    expected = torch.zeros(grid)
    for (x0, y0, x1, y1), value in zip(boxes.tolist(), values, strict=True):
        for row in range(grid[0]):
            for column in range(grid[1]):
                top, bottom = row * SIZE[0] / grid[0], (row + 1) * SIZE[0] / grid[0]
                left, right = column * SIZE[1] / grid[1], (column + 1) * SIZE[1] / grid[1]
                inside = x0 < right and x1 > left and y0 < bottom and y1 > top
                if inside and x1 > x0 and y1 > y0:
                    expected[row, column] = max(expected[row, column], value)
    assert torch.allclose(paint_boxes(boxes, values, SIZE, grid), expected)


def test_a_box_that_ends_on_an_edge_does_not_touch_the_next_cell():
    painted = paint_boxes(torch.tensor([[0.0, 0.0, 32.0, 32.0]]), torch.ones(1), SIZE, (2, 3))
    assert painted.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_nothing_to_paint():
    assert not paint_boxes(torch.zeros(0, 4), torch.zeros(0), SIZE, (2, 3)).any()
    assert not paint_masks(torch.zeros(0, 8, 8, dtype=torch.bool), torch.zeros(0), (2, 3)).any()
    nan = torch.full((1, 4), float("nan"))
    assert not paint_boxes(nan, torch.ones(1), SIZE, (2, 3)).any()


def test_masks_on_cells():
    masks = torch.zeros(2, 64, 96, dtype=torch.bool)
    masks[0, 10, 31:34] = True
    masks[1, 40:50, 0:5] = True
    painted = paint_masks(masks, torch.tensor([0.5, 0.25]), (2, 3))
    assert painted.tolist() == [[0.5, 0.5, 0.0], [0.25, 0.0, 0.0]]


def test_one_channel_logits_become_two_classes():
    logits = sample_logits(torch.full((1, 4, 6), 2.0), SIZE, 4)
    assert torch.allclose(logits.softmax(0)[1], torch.tensor(2.0).sigmoid())


@pytest.mark.parametrize("size", [(8, 12), (4, 6), (9, 13)])
@pytest.mark.parametrize("classes", [1, 2, 19])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_segmentation_has_three_channels_at_any_size(size, classes, dtype):
    logits = torch.randn(classes, 16, 24).to(dtype)
    drawn = task_map(TaskOutput("semseg", image_size=SIZE, logits=logits), size)
    assert drawn.shape == (3, *size) and drawn.dtype == torch.float32
    assert drawn.min() >= 0.0 and drawn.max() <= 1.0 + 1e-5


def test_confidence_doubt_and_border_of_a_segmentation():
    logits = torch.zeros(2, 8, 12)
    logits[1, :, :6] = 20.0
    logits[0, :, 6:] = 20.0
    logits[:, 0] = 0.0
    top, doubt, border = task_map(TaskOutput("semseg", image_size=SIZE, logits=logits), (8, 12))
    assert torch.allclose(top[0], torch.full((12,), 0.5)) and (top[1:] > 0.99).all()
    assert torch.allclose(doubt[0], torch.ones(12)) and (doubt[1:] < 1e-3).all()
    assert border[4].nonzero().flatten().tolist() == [5, 6]


def test_score_doubt_and_outline_of_boxes():
    boxes = torch.tensor([[0.0, 0.0, 40.0, 40.0], [16.0, 16.0, 24.0, 24.0]])
    task = TaskOutput("detection", image_size=SIZE, boxes=boxes, scores=torch.tensor([0.5, 0.8]))
    score, doubt, outline = task_map(task, (8, 12))
    expected = torch.zeros(8, 12)
    expected[:5, :5] = 0.5
    expected[2, 2] = 0.8
    assert torch.allclose(score, expected)
    assert torch.allclose(doubt, 4.0 * expected * (1.0 - expected))
    expected[1:4, 1:4] = 0.0
    expected[2, 2] = 0.8
    assert torch.allclose(outline, expected)


def test_masks_are_drawn_as_masks():
    masks = torch.zeros(1, 64, 96, dtype=torch.bool)
    masks[0, 16:48, 16:48] = True
    boxes = torch.tensor([[16.0, 16.0, 48.0, 48.0]])
    by_mask = TaskOutput("instance", image_size=SIZE, boxes=boxes, masks=masks)
    by_box = TaskOutput("detection", image_size=SIZE, boxes=boxes)
    assert torch.equal(task_map(by_mask, (8, 12)), task_map(by_box, (8, 12)))


def test_no_task_and_no_objects_are_blank():
    empty = TaskOutput("detection", image_size=SIZE, boxes=torch.zeros(0, 4))
    assert not task_map(empty, (8, 12)).any()
    assert task_map(None, (8, 12), channels=2).shape == (2, 8, 12)
    with pytest.raises(ValueError, match="channels must be 1 to 3, got 4"):
        task_map(None, (8, 12), channels=4)
