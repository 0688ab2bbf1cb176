"""Small stock networks with random weights, and calls of them as their packages make them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmdyn.conversion.hosts import host_for, zoo
from tests.engine.stock import detector, segmentor

SIZE, BLOCK = (128, 128), 32


class Plain(nn.Module):
    """No package's network."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 3, 1, 1)

    def forward(self, x, scale: float = 1.0):
        return self.second(nn.functional.relu(self.first(x))) * scale


def _two_stage() -> dict:
    """mmdet's Faster R-CNN on the detector's backbone and neck."""
    one = detector(Path()).model
    nms = dict(type="nms", iou_threshold=0.5)
    return dict(
        type="FasterRCNN",
        data_preprocessor=one.data_preprocessor,
        backbone=one.backbone,
        neck=one.neck,
        rpn_head=dict(
            type="RPNHead", in_channels=8, feat_channels=8,
            anchor_generator={**one.bbox_head.anchor_generator},
            bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
        ),
        roi_head=dict(
            type="StandardRoIHead",
            bbox_roi_extractor=dict(
                type="SingleRoIExtractor", out_channels=8, featmap_strides=[8, 16, 32],
                roi_layer=dict(type="RoIAlign", output_size=3, sampling_ratio=0),
            ),
            bbox_head=dict(
                type="Shared2FCBBoxHead", in_channels=8, fc_out_channels=16, roi_feat_size=3,
                num_classes=1, bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
            ),
        ),
        train_cfg=None,
        test_cfg=dict(
            rpn=dict(nms_pre=100, max_per_img=20, nms=nms, min_bbox_size=0),
            rcnn=dict(score_thr=0.001, nms=nms, max_per_img=10),
        ),
    )  # fmt: skip


KINDS = {
    "segmentor": ("mmseg", lambda: segmentor(Path()).model),
    "one stage": ("mmdet", lambda: detector(Path()).model),
    "two stages": ("mmdet", _two_stage),
    "plain": (None, None),
}


def build(kind: str, **options) -> nn.Module:
    """A network of `KINDS` in evaluation mode; skips where its package is not installed."""
    package, config = KINDS[kind]
    torch.manual_seed(0)
    if package is None:
        return Plain().eval()
    pytest.importorskip(package)
    init_default_scope(package)
    model = MODELS.build(ConfigDict({**config(), **options})).eval()
    zoo.randomise(model)
    return model


def call_of(model: nn.Module, images: int = 1, size: tuple[int, int] = SIZE) -> tuple[tuple, dict]:
    """Arguments for a batch of noise, with the metainfo that the package gives."""
    (_, samples), kwargs = host_for(model).example(model, (size[0] // 2, size[1] // 2))
    return (torch.randn(images, 3, *size), [samples[0].clone() for _ in range(images)]), kwargs
