"""Crops around people and paving: sizes, boxes, what becomes ignored."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from mmdet.structures.bbox import HorizontalBoxes

from mmdyn.datasets.crop_around_box import CropAroundBox


def sample(boxes, size=(200, 300), flags=None) -> dict:
    """An image whose pixels tell where they were (row, column, 0)."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = np.stack([rows % 256, columns % 256, np.zeros(size)], 2).astype(np.uint8)
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return dict(
        img=image, img_shape=size, gt_bboxes=HorizontalBoxes(rows),
        gt_bboxes_labels=np.arange(len(rows)),
        gt_ignore_flags=np.zeros(len(rows), bool) if flags is None else np.array(flags),
    )  # fmt: skip


BOXES = [[100.0, 60, 130, 130], [20, 150, 50, 190]]


@pytest.mark.parametrize("size", [(96, 128), (96, 400), (256, 128), (256, 400), (200, 300)])
def test_pixels_and_boxes_move_together(size):
    for _ in range(20):
        out = CropAroundBox(size, min_share=0.0, min_width=0.0)(sample(BOXES))
        assert out["img"].shape == (*size, 3) and out["img_shape"] == size
        assert len(out["gt_bboxes"]), "one of the two is in the crop"
        for box, label in zip(out["gt_bboxes"].tensor, out["gt_bboxes_labels"]):
            left, top, right, bottom = box.int().tolist()
            assert 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]
            old = BOXES[label]
            y, x = out["img"][bottom - 1, right - 1, :2]
            whole = right - left == old[2] - old[0] and bottom - top == old[3] - old[1]
            if whole:
                assert (y, x) == (old[3] - 1, old[2] - 1)


def test_a_chosen_centre_is_in_the_crop():
    for _ in range(30):
        out = CropAroundBox((64, 64), min_share=0.0, min_width=0.0)(sample(BOXES[:1]))
        assert len(out["gt_bboxes"]) == 1
        y, x = out["img"][..., 0].astype(int), out["img"][..., 1].astype(int)
        assert y.min() <= 95 <= y.max() and x.min() <= 115 <= x.max()


def test_ignored_people_are_not_chosen():
    for _ in range(30):
        out = CropAroundBox((64, 64), min_share=0.0)(sample(BOXES, flags=[False, True]))
        assert 0 in out["gt_bboxes_labels"]


def test_paving_has_its_colour_and_keeps_the_picture():
    out = CropAroundBox((256, 400), pave_color=(1, 2, 3))(sample(BOXES))
    plane = (out["img"] == (1, 2, 3)).all(2)
    assert plane.sum() == 256 * 400 - 200 * 300
    np.testing.assert_array_equal(out["img"][~plane].reshape(200, 300, 3), sample(BOXES)["img"])


def test_what_is_left_of_little_is_ignored_or_dropped():
    wide = [[0.0, 0, 40, 190]]  # 190 px tall: a crop of 64 px leaves a third at most
    out = CropAroundBox((64, 300))(sample(wide))
    assert out["gt_ignore_flags"].tolist() == [True]
    assert len(CropAroundBox((64, 300), drop=True)(sample(wide))["gt_bboxes"]) == 0
    thin = [[50.0, 50, 62, 90]]
    assert CropAroundBox((200, 300))(sample(thin))["gt_ignore_flags"].tolist() == [True]
    wider = CropAroundBox((200, 300), min_width=10)(sample(thin))
    assert wider["gt_ignore_flags"].tolist() == [False]
    kept = CropAroundBox((64, 300), drop=True)(sample(wide, flags=[True]))
    assert len(kept["gt_bboxes"]) == 1, "what was an ignored region remains one"


def test_nobody_there():
    out = CropAroundBox((64, 64))(sample([]))
    assert out["img"].shape == (64, 64, 3) and len(out["gt_bboxes"]) == 0


def test_refusals():
    with pytest.raises(ValueError, match="height and a width"):
        CropAroundBox((64,))
    with pytest.raises(ValueError, match="moves boxes only"):
        CropAroundBox((64, 64))(dict(sample(BOXES), gt_masks=object()))


def test_the_recipe_of_citypersons_gives_crops_with_people_and_ignored_regions(tmp_path):
    import cv2
    from mmengine.dataset import Compose
    from mmengine.registry import init_default_scope

    from mmdyn.engine.inference import read_config

    init_default_scope("mmdet")
    import mmdet.datasets  # noqa: F401

    image = np.full((256, 512, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "street.png"), image)
    boxes = [([100, 60, 141, 160], 0), ([300, 80, 341, 180], 0), ([0, 0, 500, 50], 1)]
    info = dict(
        img_id=1, img_path=str(tmp_path / "street.png"), height=256, width=512,
        instances=[dict(bbox=b, bbox_label=0, ignore_flag=flag) for b, flag in boxes],
    )  # fmt: skip
    config = Path(__file__).parents[2] / "configs" / "csp" / "csp_r50_citypersons.py"
    pipeline = Compose(read_config(config).train_dataloader.dataset.pipeline)
    people, ignored = 0, 0
    for _ in range(6):
        packed = pipeline(copy.deepcopy(info))
        assert packed["inputs"].shape == (3, 640, 1280)
        sample = packed["data_samples"]
        people += len(sample.gt_instances)
        ignored += len(sample.ignored_instances)
        corners = sample.gt_instances.bboxes.tensor
        assert (
            (corners >= 0).all() and (corners[:, 2] <= 1280).all() and (corners[:, 3] <= 640).all()
        )
    assert people and ignored
