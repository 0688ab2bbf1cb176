"""Visible parts move with their boxes through mmdet's own transforms."""

import pytest

pytest.importorskip("mmdet.datasets")

import copy
import inspect
import pickle

import numpy as np
import torch
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from mmdyn.datasets.visible_boxes import VisibleBoxes

WHOLE = [[10.0, 5.0, 30.0, 55.0], [60.0, 10.0, 90.0, 60.0], [1.0, 2.0, 5.0, 12.0]]
PART = [[10.0, 5.0, 30.0, 30.0], [70.0, 20.0, 90.0, 60.0], [1.0, 2.0, 5.0, 12.0]]


def boxes() -> VisibleBoxes:
    return VisibleBoxes(torch.tensor(WHOLE), visible=torch.tensor(PART))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.flip_((64, 128)),
        lambda x: x.flip_((64, 128), "vertical"),
        lambda x: x.translate_((-3, 4)),
        lambda x: x.clip_((40, 50)),
        lambda x: x.rescale_((0.5, 2.0)),
        lambda x: x.rotate_((20, 20), 30),
        lambda x: x.project_(np.array([[1.0, 0.1, 3], [0, 2, 1], [0, 0, 1]], np.float32)),
    ],
)
def test_what_is_done_to_the_boxes_is_done_to_the_parts(change):
    both, part = boxes(), HorizontalBoxes(torch.tensor(PART))
    change(both)
    change(part)
    torch.testing.assert_close(both.visible.tensor, part.tensor)


def test_resizing_keeps_a_part_at_its_place_in_the_box():
    both = boxes()
    both.resize_((2.0, 0.5))
    assert both.tensor[0].tolist() == [0, 17.5, 40, 42.5]
    assert both.visible.tensor[0].tolist() == [0, 17.5, 40, 30]


def test_choosing_copying_and_joining_keep_pairs_together():
    both = boxes()
    keep = np.array([False, True, True])
    for chosen in (both[keep], both[torch.tensor([1, 2])], both[1:]):
        assert chosen.tensor.tolist() == WHOLE[1:] and chosen.visible.tensor.tolist() == PART[1:]
    joined = VisibleBoxes.cat([both[:1], both[1:]])
    assert joined.visible.tensor.tolist() == PART
    for twin in (copy.deepcopy(both), both.clone()):
        twin.translate_((1, 1))
        twin.visible.tensor += 1
    assert both.tensor.tolist() == WHOLE and both.visible.tensor.tolist() == PART
    assert both.to(torch.float64).visible.tensor.dtype == torch.float64
    both[0] = both[1]
    assert both.visible.tensor[0].tolist() == PART[1]
    assert type(both.convert_to("hbox")) is HorizontalBoxes
    assert VisibleBoxes(WHOLE).visible.tensor.tolist() == WHOLE


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.detach(), lambda x: x.cpu(), lambda x: x.clone(), lambda x: x.to("cpu"),
        lambda x: x.view(3, 4), lambda x: x.view(1, 3, 4), lambda x: x.reshape(3, 1, 4),
        lambda x: x.split(2), lambda x: x.split([1, 2]), lambda x: x.chunk(2),
        lambda x: x.repeat(2, 1), lambda x: x.expand(2, 3, 4), lambda x: x.squeeze(),
        lambda x: x.unsqueeze(0), lambda x: x.reshape(1, 3, 4).unbind(0),
        lambda x: x.reshape(1, 3, 4).flatten(), lambda x: x.reshape(1, 3, 4).transpose(0, 1),
        lambda x: x.reshape(1, 3, 4).permute(1, 0, 2), lambda x: type(x).stack([x, x]),
        lambda x: pickle.loads(pickle.dumps(x)),
    ],
)  # fmt: skip
def test_whatever_tensors_can_do_keeps_the_parts(call):
    made, wanted = call(boxes()), call(HorizontalBoxes(torch.tensor(PART)))
    whole = call(HorizontalBoxes(torch.tensor(WHOLE)))
    if not isinstance(made, list):
        made, wanted, whole = [made], [wanted], [whole]
    assert len(made) == len(wanted) == len(whole)
    for both, part, box in zip(made, wanted, whole, strict=True):
        assert type(both) is VisibleBoxes and torch.equal(both.tensor, box.tensor)
        assert torch.equal(both.visible.tensor, part.tensor)


def test_every_method_that_makes_boxes_knows_the_parts():
    made = {
        name
        for name, method in vars(BaseBoxes).items()
        if "type(self)(" in (inspect.getsource(method) if inspect.isfunction(method) else "")
    }
    own = made & set(vars(VisibleBoxes))
    assert made - own == {"empty_boxes", "fake_boxes"}  # new boxes, all visible


def test_views_share_memory_and_copies_do_not():
    both = boxes()
    both.reshape(3, 4).tensor += 1
    both.detach().visible.tensor += 1
    assert both.tensor.tolist() != WHOLE and both.visible.tensor.tolist() != PART
    twin = both.clone()
    twin.visible.tensor += 1
    assert not torch.equal(twin.visible.tensor, both.visible.tensor)


def results(instances=None) -> dict:
    if instances is None:
        instances = [
            dict(bbox=a, visible_bbox=b, bbox_label=0, ignore_flag=k == 2)
            for k, (a, b) in enumerate(zip(WHOLE, PART, strict=True))
        ]
    image = np.zeros((64, 128, 3), np.uint8)
    return dict(img=image, img_shape=(64, 128), ori_shape=(64, 128), img_id=0, instances=instances)


def packed(steps: list[dict], instances=None):
    init_default_scope("mmdet")
    load = dict(type="mmdyn.LoadVisibleBoxes", with_bbox=True)
    pack = dict(type="mmdyn.PackVisibleBoxes", meta_keys=("img_id",))
    pipeline = Compose([TRANSFORMS.build(step) for step in (load, *steps, pack)])
    return pipeline(results(instances))["data_samples"]


def test_parts_pass_a_training_pipeline():
    sample = packed(
        [
            dict(type="Resize", scale=(256, 128), keep_ratio=True),
            dict(type="RandomFlip", prob=1.0),
            dict(type="RandomCrop", crop_size=(100, 200), allow_negative_crop=True),
        ]
    )
    whole = sample.gt_instances.bboxes.tensor
    part = sample.gt_instances.visible_bboxes
    assert type(sample.gt_instances.bboxes) is HorizontalBoxes and len(whole) == 2
    # Resized by 2 and flipped, the first box was 40 x 100 with a part of 40 x 50 at its top.
    assert (whole[0] - part[0])[:3].tolist() == [0, 0, 0]
    assert (part[0, 3] - part[0, 1]) <= 50 and (whole[0, 3] - part[0, 3]) >= 22
    assert (part[:, :2] >= whole[:, :2] - 1e-4).all() and (part[:, 2:] <= whole[:, 2:] + 1e-4).all()


def test_images_without_people_and_people_without_parts():
    assert packed([], []).gt_instances.visible_bboxes.shape == (0, 4)
    sample = packed([], [dict(bbox=WHOLE[0], bbox_label=0, ignore_flag=0)])
    assert sample.gt_instances.visible_bboxes.tolist() == [WHOLE[0]]


def test_stock_packing_still_works():
    init_default_scope("mmdet")
    load = TRANSFORMS.build(dict(type="mmdyn.LoadVisibleBoxes", with_bbox=True))
    pack = TRANSFORMS.build(dict(type="PackDetInputs", meta_keys=("img_id",)))
    assert len(pack(load(results()))["data_samples"].gt_instances.bboxes) == 2
