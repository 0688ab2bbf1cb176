"""Information gains against slow loops, and their edge cases."""

import math

import pytest
import torch

from mmdyn.policies import (
    TaskOutput,
    detection_gain,
    information_gain,
    instance_gain,
    semseg_gain,
)

SIZE = (64, 96)
GRID = (2, 3)


def semseg(logits):
    return TaskOutput("semseg", image_size=SIZE, logits=logits)


def objects(boxes, scores=None, labels=None, masks=None):
    return TaskOutput(
        "detection" if masks is None else "instance",
        image_size=SIZE,
        boxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        scores=None if scores is None else torch.tensor(scores),
        labels=None if labels is None else torch.tensor(labels),
        masks=masks,
    )


@pytest.mark.parametrize("resolution", [(64, 96), (16, 24), (8, 12), (2, 3)])
@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_divergence_equals_a_plain_loop(resolution, pooling):
    before, now = torch.randn(4, *resolution), torch.randn(4, *resolution)
    got = semseg_gain(semseg(before), semseg(now), GRID, sample=1, pooling=pooling)
    p, q = before.softmax(0), now.softmax(0)
    values = [[[] for _ in range(3)] for _ in range(2)]
    for y in range(resolution[0]):
        for x in range(resolution[1]):
            kl = sum(float(p[c, y, x]) * math.log(p[c, y, x] / q[c, y, x]) for c in range(4))
            values[y * 2 // resolution[0]][x * 3 // resolution[1]].append(kl)
    merge = max if pooling == "max" else lambda cell: sum(cell) / len(cell)
    expected = torch.tensor([[merge(cell) for cell in row] for row in values])
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_fine_logits_are_only_sampled():
    before = torch.zeros(3, 64, 96)
    now = before.clone()
    now[0, 20:30, 70:80] = 5.0
    gain = semseg_gain(semseg(before), semseg(now), GRID)
    assert gain[0, 2] > 0.5 and gain.count_nonzero() == 1


def test_a_grid_finer_than_the_logits():
    gain = semseg_gain(semseg(torch.randn(2, 2, 3)), semseg(torch.randn(2, 2, 3)), (4, 6))
    assert torch.equal(gain[::2, ::2], gain[1::2, 1::2])


def test_masked_out_classes_and_bf16():
    before, now = torch.randn(3, 8, 12), torch.randn(3, 8, 12)
    before[1] = now[1] = float("-inf")
    assert semseg_gain(semseg(before), semseg(now), GRID).isfinite().all()
    full = semseg_gain(semseg(now), semseg(now.flip(1)), GRID)
    half = semseg_gain(semseg(now.bfloat16()), semseg(now.flip(1).bfloat16()), GRID)
    assert half.dtype == torch.float32 and torch.allclose(full, half, rtol=0.05, atol=0.02)


def test_logits_of_two_resolutions_are_compared():
    gain = semseg_gain(semseg(torch.ones(3, 8, 12)), semseg(torch.ones(3, 16, 24)), GRID)
    assert torch.allclose(gain, torch.zeros(GRID), atol=1e-6)
    with pytest.raises(ValueError, match="same classes, got 3 and 4"):
        semseg_gain(semseg(torch.ones(3, 8, 12)), semseg(torch.ones(4, 8, 12)), GRID)
    with pytest.raises(ValueError, match="pooling must be one of"):
        semseg_gain(None, semseg(torch.ones(3, 8, 12)), GRID, pooling="median")


def slow_iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    common = width * height
    union = (
        max(0.0, a[2] - a[0]) * max(0.0, a[3] - a[1])
        + max(0.0, b[2] - b[0]) * max(0.0, b[3] - b[1])
        - common
    )
    return common / union if union > 0 else 0.0


def slow_detection_gain(previous, current):
    gain = torch.zeros(GRID)
    for task, other in ((previous, current), (current, previous)):
        for box, score, label in zip(task.boxes, task.scores, task.labels, strict=True):
            kept = 0.0
            for box2, score2, label2 in zip(other.boxes, other.scores, other.labels, strict=True):
                if label == label2:
                    shared = slow_iou(box.tolist(), box2.tolist()) * min(
                        float(score), float(score2)
                    )
                    kept = max(kept, shared)
            x0, y0, x1, y1 = box.tolist()
            for row in range(GRID[0]):
                for column in range(GRID[1]):
                    inside = x0 < (column + 1) * 32 and x1 > column * 32
                    inside = inside and y0 < (row + 1) * 32 and y1 > row * 32
                    if inside and x1 > x0 and y1 > y0:
                        gain[row, column] = max(gain[row, column], float(score) - kept)
    return gain


@pytest.mark.parametrize("counts", [(12, 9), (0, 5), (5, 0), (0, 0), (1, 1)])
def test_detection_gain_equals_a_plain_loop(counts):
    frames = []
    for count in counts:
        corner = (torch.rand(count, 2) * torch.tensor([90.0, 60.0])).round()
        # Some boxes have no area.
        boxes = torch.cat([corner, corner + (torch.rand(count, 2) * 30.0 - 4.0).round()], 1)
        frames.append(
            objects(boxes.tolist(), torch.rand(count).tolist(), [i % 2 for i in range(count)])
        )
    got = detection_gain(*frames, GRID)
    assert torch.allclose(got, slow_detection_gain(*frames), atol=1e-5)


def test_what_a_detection_tells():
    here, there = [0.0, 0.0, 30.0, 30.0], [66.0, 34.0, 96.0, 64.0]
    assert not detection_gain(objects([here], [0.9]), objects([here], [0.9]), GRID).any()
    moved = detection_gain(objects([here], [0.9]), objects([there], [0.9]), GRID)
    assert torch.allclose(moved, torch.tensor([[0.9, 0.0, 0.0], [0.0, 0.0, 0.9]]))
    surer = detection_gain(objects([here], [0.3]), objects([here], [0.9]), GRID)
    assert math.isclose(float(surer[0, 0]), 0.6, rel_tol=1e-5)
    relabelled = detection_gain(objects([here], [0.9], [0]), objects([here], [0.9], [1]), GRID)
    assert math.isclose(float(relabelled[0, 0]), 0.9, rel_tol=1e-5)


def masks(*places):
    drawn = torch.zeros(len(places), *SIZE, dtype=torch.bool)
    for mask, (y0, y1, x0, x1) in zip(drawn, places, strict=True):
        mask[y0:y1, x0:x1] = True
    return drawn


def test_instances_are_matched_by_their_masks():
    box = [[0.0, 0.0, 32.0, 32.0]]
    whole = objects(box, [0.8], masks=masks((0, 32, 0, 32)))
    upper = objects(box, [0.8], masks=masks((0, 16, 0, 32)))
    assert not instance_gain(whole, whole, GRID).any()
    gain = instance_gain(whole, upper, GRID, sample=1)
    assert torch.allclose(gain, torch.tensor([[0.4, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    # The boxes agree: only the masks can tell.
    assert not detection_gain(whole, upper, GRID).any()


def test_instances_appear_and_vanish_on_their_masks_cells():
    none = objects([], [], masks=masks())
    one = objects([[0.0, 0.0, 96.0, 64.0]], [0.7], masks=masks((40, 60, 40, 60)))
    expected = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.7, 0.0]])
    assert torch.allclose(instance_gain(none, one, GRID), expected)
    assert torch.allclose(instance_gain(one, none, GRID), expected)
    assert not instance_gain(none, none, GRID).any()


def test_masks_of_two_resolutions_and_no_masks():
    box = [[0.0, 0.0, 32.0, 32.0]]
    fine = objects(box, [0.8], masks=masks((0, 32, 0, 32)))
    coarse = objects(box, [0.8], masks=fine.masks[:, ::2, ::2])
    assert not instance_gain(coarse, fine, GRID, sample=1).any()
    bare = TaskOutput("instance", image_size=SIZE, boxes=fine.boxes, scores=fine.scores)
    assert not instance_gain(bare, fine, GRID).any()


@pytest.mark.parametrize(
    "current",
    [semseg(torch.randn(3, 8, 12)), objects([[0, 0, 9, 9]]), objects([], masks=masks())],
)
def test_a_first_frame_has_no_gain(current):
    gain = information_gain(None, current, GRID)
    assert gain.shape == GRID and not gain.any()


def test_the_kind_picks_the_gain_and_its_options():
    before, now = semseg(torch.randn(3, 8, 12)), semseg(torch.randn(3, 8, 12))
    options = {"semseg": {"pooling": "mean"}, "detection": {"unread": 1}}
    got = information_gain(before, now, GRID, options)
    assert torch.equal(got, semseg_gain(before, now, GRID, pooling="mean"))
    now.kind = "depth"
    with pytest.raises(
        KeyError, match="no information gain for task kind 'depth'; known: .*semseg"
    ):
        information_gain(before, now, GRID)


def test_broken_logits_are_not_hidden():
    broken = torch.full((3, 8, 12), float("nan"))
    assert semseg_gain(semseg(torch.zeros(3, 8, 12)), semseg(broken), GRID).isnan().all()


def test_objects_that_fall_between_the_samples_of_masks_count_by_their_boxes():
    small = objects([[70.0, 40.0, 72.0, 42.0]], [0.8], masks=masks((40, 42, 70, 72)))
    none = objects([], [], masks=masks())
    expected = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.8]])
    assert torch.allclose(instance_gain(none, small, GRID, sample=16), expected)
    assert torch.allclose(instance_gain(small, none, GRID, sample=16), expected)
    assert not instance_gain(small, small, GRID, sample=16).any()
    # A mask without a pixel, as of an object that a mask head gave up.
    empty = objects([[0.0, 0.0, 30.0, 30.0]], [0.6], masks=masks((0, 0, 0, 0)))
    assert not instance_gain(empty, empty, GRID).any()
    assert math.isclose(float(instance_gain(none, empty, GRID)[0, 0]), 0.6, rel_tol=1e-5)


def test_boxes_of_a_pixel_or_less_are_matched_and_painted():
    point = objects([[50.2, 10.1, 50.9, 10.8]], [0.9])
    moved = objects([[80.2, 40.1, 80.9, 40.8]], [0.9])
    assert not detection_gain(point, point, GRID).any()
    expected = torch.tensor([[0.0, 0.9, 0.0], [0.0, 0.0, 0.9]])
    assert torch.allclose(detection_gain(point, moved, GRID), expected)


def test_every_class_of_many_is_matched_with_its_own():
    # Five classes on one place, and one of another on the next: all are found again but one.
    here, there = [0.0, 0.0, 30.0, 30.0], [40.0, 0.0, 60.0, 30.0]
    before = objects([here] * 5 + [there], [0.9, 0.8, 0.7, 0.6, 0.5, 0.9], [0, 1, 2, 3, 4, 7])
    shuffled = [4, 2, 0, 3, 5]  # the one of class 1 is gone
    now = objects(
        before.boxes[shuffled].tolist(), before.scores[shuffled].tolist(),
        before.labels[shuffled].tolist(),
    )  # fmt: skip
    expected = torch.tensor([[0.8, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert torch.allclose(detection_gain(before, now, GRID), expected)
    assert torch.allclose(detection_gain(now, before, GRID), expected)


def test_a_crowd_where_one_leaves_tells_of_that_one():
    crowd = [[float(x), 0.0, x + 12.0, 30.0] for x in range(0, 80, 10)]
    left = [box for k, box in enumerate(crowd) if k != 3]
    gain = detection_gain(objects(crowd, [0.9] * 8), objects(left, [0.9] * 7), GRID)
    # The neighbours overlap it by 2 of 22 px: it counts for the rest, on the cells it stood on.
    share = 0.9 * (1 - 2 / 22)
    assert torch.allclose(gain, torch.tensor([[share, share, 0.0], [0.0, 0.0, 0.0]]), atol=1e-5)


def test_the_images_of_a_batch_do_not_mix():
    frames = [
        (objects([[0.0, 0.0, 9.0, 9.0]], [0.9]), objects([], [])),
        (objects([], []), objects([[70.0, 40.0, 90.0, 60.0]] * 3, [0.2, 0.5, 0.1], [0, 1, 2])),
    ]
    gains = [information_gain(before, now, GRID) for before, now in frames]
    assert gains[0][0, 0] > 0.89 and gains[0].count_nonzero() == 1
    assert math.isclose(float(gains[1][1, 2]), 0.5, rel_tol=1e-5)
    assert gains[1].count_nonzero() == 1
