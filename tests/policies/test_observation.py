"""What a policy is shown is checked where it is made."""

import pytest
import torch

from mmdyn.policies import Observation, TaskOutput

SIZE = (64, 96)


def observation(**changes):
    fields = dict(
        image=torch.zeros(2, 3, *SIZE),
        grid_size=(2, 3),
        change=torch.zeros(2, 2, 3),
        thumbnail=torch.zeros(2, 3, 8, 12),
        memory_thumbnail=torch.zeros(2, 3, 8, 12),
        age=torch.ones(2, 2, 3, dtype=torch.int64),
        last_grid=torch.zeros(2, 2, 3, dtype=torch.bool),
        task=[None, None],
    )
    return Observation(**{**fields, **changes})


def test_a_whole_observation_is_taken():
    assert observation().decision is None


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("change", torch.zeros(2, 3, 2), r"change must be \(N, GH, GW\) = \(2, 2, 3\)"),
        ("age", torch.ones(1, 2, 3), "age must be"),
        ("memory_thumbnail", torch.zeros(2, 3, 8, 8), "must have one shape"),
        ("task", [None], "one entry per image"),
        ("oracle", [], "one entry per image"),
    ],
)
def test_mismatches_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        observation(**{field: value})


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind must be one of .*'semseg'.*got 'pose'"):
        TaskOutput("pose", image_size=SIZE)


@pytest.mark.parametrize("logits", [None, torch.zeros(1, 2, 3, 4)])
def test_semseg_needs_one_images_logits(logits):
    with pytest.raises(ValueError, match="without the batch dimension"):
        TaskOutput("semseg", image_size=SIZE, logits=logits)


@pytest.mark.parametrize("kind", ["detection", "instance"])
def test_objects_need_boxes_of_four_numbers(kind):
    with pytest.raises(ValueError, match=r"empty \(0, 4\) tensor"):
        TaskOutput(kind, image_size=SIZE, boxes=torch.zeros(0))
    with pytest.raises(ValueError, match="scores must have 2 entries"):
        TaskOutput(kind, image_size=SIZE, boxes=torch.zeros(2, 4), scores=torch.zeros(3))
