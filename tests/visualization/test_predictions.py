"""What mmdet and mmseg say, drawn into a picture."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData

from mmdyn.visualization import draw_frame, draw_instances, draw_prediction, draw_semantic

GREY = np.full((48, 64, 3), 128, np.uint8)


def test_classes_get_their_colour_and_ignored_pixels_none() -> None:
    labels = np.full((48, 64), 255, np.uint8)
    labels[:, :32] = 1
    drawn = draw_semantic(GREY, labels, [(0, 0, 0), (255, 0, 0)], opacity=1.0)
    assert (drawn[:, :32] == (0, 0, 255)).all()
    assert (drawn[:, 32:] == GREY[:, 32:]).all()
    assert draw_semantic(GREY, labels).shape == GREY.shape


def test_boxes_and_masks_of_a_detector() -> None:
    mask = np.zeros((1, 48, 64), bool)
    mask[0, 30:40, 30:50] = True
    drawn = draw_instances(
        GREY, np.array([[28.0, 28, 52, 42]]), np.array([1]), np.array([0.9]), mask, ("a", "b")
    )
    assert (drawn != GREY).any(axis=2)[28, 30:50].all(), "upper side of the box"
    assert (drawn != GREY).any(axis=2)[32:38, 32:48].all(), "mask"
    assert (drawn[45:, :20] == GREY[45:, :20]).all()


def test_no_instances() -> None:
    empty = np.zeros(0, int)
    assert (draw_instances(GREY, np.zeros((0, 4)), empty, empty.astype(float)) == GREY).all()


def test_mmseg_sample() -> None:
    mmseg = pytest.importorskip("mmseg.structures")
    sample = mmseg.SegDataSample(pred_sem_seg=PixelData(data=torch.zeros(1, 48, 64).long()))
    drawn = draw_prediction(GREY, sample, palette=[(255, 255, 255)])
    assert (drawn > 128).all()
    framed = draw_frame(GREY, sample, np.zeros((1, 1), bool), (48, 64), palette=[(255, 255, 255)])
    assert framed[20, 20].mean() < drawn[20, 20].mean(), "copied blocks fade"


def test_mmdet_sample_draws_scores_above_the_threshold() -> None:
    mmdet = pytest.importorskip("mmdet.structures")
    found = InstanceData(
        bboxes=torch.tensor([[4.0, 20, 24, 40], [40, 20, 60, 40]]),
        scores=torch.tensor([0.9, 0.1]),
        labels=torch.tensor([0, 7]),
    )
    drawn = draw_prediction(GREY, mmdet.DetDataSample(pred_instances=found), ("person",))
    assert (drawn[:, :30] != GREY[:, :30]).any()
    assert (drawn[24:, 36:] == GREY[24:, 36:]).all()


def test_other_samples_are_left_alone() -> None:
    mmdet = pytest.importorskip("mmdet.structures")
    assert (draw_prediction(GREY, mmdet.DetDataSample()) == GREY).all()
