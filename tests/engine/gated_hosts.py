"""Tiny stock configs of the networks that DynConv is made for, with its line in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope

from tests.conversion.hosts import KINDS
from tests.engine.stock import detector, segmentor

SIDE = 64


def _mask_rcnn() -> dict:
    model = dict(KINDS["two stages"][1]())
    roi = dict(model["roi_head"])
    extractor = dict(roi["bbox_roi_extractor"])
    roi["mask_roi_extractor"] = {**extractor, "roi_layer": dict(extractor["roi_layer"])}
    roi["mask_head"] = dict(
        type="FCNMaskHead", num_convs=1, in_channels=8, conv_out_channels=8, num_classes=1,
        roi_feat_size=3, loss_mask=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
    )  # fmt: skip
    assigner = dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.3, min_pos_iou=0.0)
    sampler = dict(
        type="RandomSampler", num=16, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=True
    )
    test_cfg = dict(model["test_cfg"])
    test_cfg["rcnn"] = dict(test_cfg["rcnn"], mask_thr_binary=0.5)
    rpn = dict(
        nms_pre=100, max_per_img=20, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0
    )
    return {
        **model, "type": "MaskRCNN", "roi_head": roi, "test_cfg": test_cfg,
        "train_cfg": dict(
            rpn=dict(assigner=assigner, sampler={**sampler}, allowed_border=-1, pos_weight=-1,
                     debug=False),
            rpn_proposal=rpn,
            rcnn=dict(assigner={**assigner}, sampler={**sampler}, mask_size=6, pos_weight=-1,
                      debug=False),
        ),
    }  # fmt: skip


def _deeplab() -> dict:
    model = segmentor(Path()).model
    model.decode_head = dict(
        type="DepthwiseSeparableASPPHead", in_channels=64, in_index=3, channels=8,
        dilations=(1, 2), c1_in_channels=8, c1_channels=4, num_classes=2,
        norm_cfg=dict(type="BN", requires_grad=True), loss_decode=dict(type="CrossEntropyLoss"),
    )  # fmt: skip
    return model


HOSTS = {
    "Mask R-CNN": ("mmdet", _mask_rcnn),
    "RetinaNet": ("mmdet", lambda: detector(Path()).model),
    "DeepLabV3+": ("mmseg", _deeplab),
    "ImageClassifier": (
        "mmengine",
        lambda: dict(
            type="mmdyn.ImageClassifier",
            backbone=dict(type="mmdyn.CIFARResNet", depth=14, base_channels=8),
            neck=dict(type="mmdyn.GlobalAveragePooling"),
            head=dict(type="mmdyn.LinearClsHead", num_classes=4, in_channels=32),
        ),
    ),
}


def build(name: str, **line):
    """The host with the line over its config; skips where its package is not installed."""
    package, config = HOSTS[name]
    pytest.importorskip(package)
    init_default_scope(package)
    torch.manual_seed(0)
    model = {**config()}
    if line:
        model = {**model, "host": model["type"], "type": "mmdyn.DynConv", **line}
    return MODELS.build(ConfigDict(model))


def batch(name: str, images: int = 2) -> dict:
    """What a data loader gives: images, one object each."""
    inputs = [torch.randint(0, 255, (3, SIDE, SIDE), dtype=torch.uint8) for _ in range(images)]
    return dict(inputs=inputs, data_samples=[_SAMPLES[HOSTS[name][0]]() for _ in inputs])


def _meta() -> dict:
    size = (SIDE, SIDE)
    return dict(img_id=0, ori_shape=size, img_shape=size, pad_shape=size, scale_factor=(1.0, 1.0))


def _detection():
    import numpy as np
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    sample, mask = DetDataSample(metainfo=_meta()), np.zeros((1, SIDE, SIDE), np.uint8)
    mask[0, 10:40, 8:40] = 1
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 10.0, 40.0, 40.0]]), labels=torch.tensor([0]),
        masks=BitmapMasks(mask, SIDE, SIDE),
    )  # fmt: skip
    return sample


def _segmentation():
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    sample = SegDataSample(metainfo=_meta())
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 2, (1, SIDE, SIDE)))
    return sample


def _label():
    from mmengine.structures import BaseDataElement

    return BaseDataElement(gt_label=torch.tensor([1]))


_SAMPLES = {"mmdet": _detection, "mmseg": _segmentation, "mmengine": _label}
