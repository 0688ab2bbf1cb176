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
