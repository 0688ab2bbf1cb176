"""The smallest stock detector and segmentor, and data for them, as a user would write them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

CLIP = 4  # frames
SIDE = 64


LINE = dict(budget=0.5, block_size=32, policy="frame_difference")


def write_images(folder: Path) -> None:
    """A clip of a square that moves, its label maps and its COCO boxes."""
    (folder / "img").mkdir(parents=True)
    (folder / "ann").mkdir()
    images, annotations = [], []
    noise = np.random.default_rng(0).integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
    for t in range(CLIP):
        image, label = noise.copy(), np.zeros((SIDE, SIDE), np.uint8)
        left = 8 + 4 * t
        image[20:40, left : left + 20] += 150
        label[20:40, left : left + 20] = 1
        cv2.imwrite(str(folder / "img" / f"clip_{t:03}.png"), image)
        cv2.imwrite(str(folder / "ann" / f"clip_{t:03}.png"), label)
        images.append(dict(id=t, file_name=f"clip_{t:03}.png", height=SIDE, width=SIDE))
        box = dict(bbox=[left, 20, 20, 20], area=400, iscrowd=0, category_id=1)
        annotations.append(dict(id=t + 1, image_id=t, **box))
    categories = [dict(id=1, name="square")]
    coco = dict(images=images, annotations=annotations, categories=categories)
    (folder / "coco.json").write_text(json.dumps(coco))


def _runner(scope: str, folder: Path, dataset: dict, test_pipeline: list, metric: dict) -> dict:
    def loader(pipeline: list) -> dict:
        return dict(
            batch_size=2 if pipeline is not test_pipeline else 1,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset={**dataset, "pipeline": pipeline},
        )

    return dict(
        default_scope=scope,
        work_dir=str(folder / "work"),
        train_dataloader=loader(list(test_pipeline)),
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=2, val_interval=1000),
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01)),
        test_dataloader=loader(test_pipeline),
        test_cfg=dict(type="TestLoop"),
        test_evaluator=metric,
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=2)),
        log_level="ERROR",
    )


def segmentor(folder: Path, **options) -> Config:
    """mmseg's FCN on a ResNet-18 of 8 channels."""
    norm = dict(type="BN", requires_grad=True)
    model = dict(
        type="EncoderDecoder",
        data_preprocessor=dict(
            type="SegDataPreProcessor", mean=[60.0] * 3, std=[60.0] * 3, bgr_to_rgb=True,
            size=(SIDE, SIDE), test_cfg=dict(size_divisor=32),
        ),
        backbone=dict(
            type="ResNetV1c", depth=18, base_channels=8, stem_channels=8, norm_cfg=norm,
            strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True,
        ),
        decode_head=dict(
            type="FCNHead", in_channels=64, in_index=3, channels=8, num_convs=1, num_classes=2,
            norm_cfg=norm, loss_decode=dict(type="CrossEntropyLoss"),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode="whole"),
    )  # fmt: skip
    dataset = dict(
        type="BaseSegDataset",
        data_root=str(folder),
        data_prefix=dict(img_path="img", seg_map_path="ann"),
        img_suffix=".png",
        metainfo=dict(classes=("ground", "square"), palette=[[0, 0, 0], [255, 255, 255]]),
    )
    pipeline = [
        dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs"),
    ]  # fmt: skip
    metric = dict(type="IoUMetric", iou_metrics=["mIoU"])
    return _with(_runner("mmseg", folder, dataset, pipeline, metric), model, options)


def detector(folder: Path, **options) -> Config:
    """mmdet's RetinaNet on a ResNet-18 of 8 channels."""
    model = dict(
        type="RetinaNet",
        data_preprocessor=dict(
            type="DetDataPreprocessor", mean=[60.0] * 3, std=[60.0] * 3, pad_size_divisor=32
        ),
        backbone=dict(type="ResNet", depth=18, base_channels=8, stem_channels=8, frozen_stages=-1),
        neck=dict(
            type="FPN", in_channels=[8, 16, 32, 64], out_channels=8, start_level=1, num_outs=3
        ),
        bbox_head=dict(
            type="RetinaHead", num_classes=1, in_channels=8, feat_channels=8, stacked_convs=1,
            anchor_generator=dict(
                type="AnchorGenerator", octave_base_scale=4, scales_per_octave=1, ratios=[1.0],
                strides=[8, 16, 32],
            ),
            bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
        ),
        train_cfg=dict(
            assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
            sampler=dict(type="PseudoSampler"), allowed_border=-1, pos_weight=-1, debug=False,
        ),
        test_cfg=dict(
            nms_pre=100, min_bbox_size=0, score_thr=0.001, nms=dict(type="nms", iou_threshold=0.5),
            max_per_img=10,
        ),
    )  # fmt: skip
    dataset = dict(
        type="CocoDataset",
        data_root=str(folder),
        ann_file="coco.json",
        data_prefix=dict(img="img/"),
        metainfo=dict(classes=("square",)),
    )
    keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", with_bbox=True),
        dict(type="Resize", scale=(SIDE, SIDE), keep_ratio=True),
        dict(type="PackDetInputs", meta_keys=keys),
    ]
    metric = dict(type="CocoMetric", ann_file=str(folder / "coco.json"), metric="bbox")
    return _with(_runner("mmdet", folder, dataset, pipeline, metric), model, options)


def _with(settings: dict, model: dict, options: dict) -> Config:
    """The config with the one line, if `options` has a ``line``, and other top-level keys."""
    line = options.pop("line", None)
    if line is not None:
        model = {**model, "type": "mmdyn.BlockCopy", **line, "host": model["type"]}
    config = Config(dict(model=model, **settings))
    config.merge_from_dict(options)
    return config


STOCK = {"mmseg": segmentor, "mmdet": detector}


def runner_of(package: str, folder: Path, **options) -> Runner:
    """A runner of the stock config; skips where the package is not installed."""
    pytest.importorskip(package)
    config = STOCK[package](folder, **options)
    config.experiment_name = f"{package}-{id(config)}"
    return Runner.from_cfg(config)
