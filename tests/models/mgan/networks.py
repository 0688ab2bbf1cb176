"""A small MGAN and generated images of people, some half hidden."""

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

SIZE = (96, 128)
ANCHORS = [2.5, 4.0]


def small_mgan(channels: int = 8, **roi_head) -> torch.nn.Module:
    """The published network with an eighth of the channels and two anchors."""
    import mmdet.models  # noqa: F401

    init_default_scope("mmdet")
    return MODELS.build(
        ConfigDict(
            type="FasterRCNN",
            data_preprocessor=dict(type="DetDataPreprocessor", mean=[128] * 3, std=[64] * 3),
            backbone=dict(type="mmdyn.PlainVGG", depth=11, base_channels=channels, with_bn=True),
            rpn_head=dict(
                type="mmdyn.AutocastRPNHead", in_channels=8 * channels, feat_channels=64,
                anchor_generator=dict(
                    type="AnchorGenerator", scales=ANCHORS, ratios=[2.44], strides=[8]
                ),
                bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=[1.0] * 4),
                loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True),
                loss_bbox=dict(type="L1Loss"),
            ),
            roi_head=dict(
                type="mmdyn.MGANRoIHead",
                bbox_roi_extractor=dict(
                    type="SingleRoIExtractor", out_channels=8 * channels, featmap_strides=[8],
                    roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=2),
                ),
                attention=dict(
                    type="mmdyn.MGANAttention", in_channels=8 * channels, conv_channels=32
                ),
                bbox_head=dict(
                    type="Shared2FCBBoxHead", in_channels=8 * channels, fc_out_channels=64,
                    roi_feat_size=7, num_classes=1,
                    bbox_coder=dict(
                        type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2]
                    ),
                    loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False),
                    loss_bbox=dict(type="L1Loss"),
                ),
                **roi_head,
            ),
            train_cfg=training(), test_cfg=testing(),
        )
    )  # fmt: skip


PROPOSALS = dict(
    nms_pre=200, max_per_img=50, min_bbox_size=0, nms=dict(type="nms", iou_threshold=0.7)
)


def training() -> dict:
    """Whom proposals are assigned to, and how many of them are looked at."""
    sampler = dict(type="RandomSampler", neg_pos_ub=-1, pos_fraction=0.5)
    assigner = dict(type="MaxIoUAssigner", ignore_iof_thr=0.5)
    rest = dict(pos_weight=-1, debug=False)
    return dict(
        rpn=dict(
            assigner=dict(**assigner, pos_iou_thr=0.6, neg_iou_thr=0.3, min_pos_iou=0.3),
            sampler=dict(**sampler, num=64, add_gt_as_proposals=False),
            allowed_border=-1, **rest,
        ),
        rpn_proposal=PROPOSALS,
        rcnn=dict(
            assigner=dict(
                **assigner, pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5,
                match_low_quality=False,
            ),
            sampler=dict(**sampler, num=32, add_gt_as_proposals=True),
            **rest,
        ),
    )  # fmt: skip


def testing() -> dict:
    """How many detections are kept."""
    nms = dict(type="nms", iou_threshold=0.5)
    return dict(rpn=PROPOSALS, rcnn=dict(score_thr=0.05, max_per_img=20, nms=nms))


def street(seed: int, people: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An image (3, H, W) uint8 of bright figures on noise, their boxes and visible boxes (N, 4).

    Every second figure's lower half is hidden by something grey.
    """
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (3, *SIZE)).astype(np.uint8)
    whole, part = [], []
    for k in range(people):
        height = int(rng.integers(52, 72))
        width = round(height / 2.44)
        left = int(rng.integers(0, SIZE[1] // people - width)) + k * SIZE[1] // people
        top = int(rng.integers(0, SIZE[0] - height))
        image[0, top : top + height, left : left + width] = 230
        image[1, top : top + height // 3, left : left + width] = 180
        whole.append([left, top, left + width, top + height])
        part.append(list(whole[-1]))
        if k % 2:
            part[-1][3] = top + height // 2
            image[:, part[-1][3] : top + height, left : left + width] = 90
    return torch.from_numpy(image), torch.tensor(whole).float(), torch.tensor(part).float()


def sample_of(seed: int, visible: bool = True, people: int = 2) -> dict:
    """What a pipeline would pack of ``street``."""
    image, whole, part = street(seed, people)
    truth = InstanceData(
        bboxes=HorizontalBoxes(whole.reshape(-1, 4)), labels=torch.zeros(len(whole)).long()
    )
    if visible:
        truth.visible_bboxes = part.reshape(-1, 4)
    sample = DetDataSample(
        metainfo=dict(img_id=seed, img_shape=SIZE, ori_shape=SIZE, scale_factor=(1.0, 1.0))
    )
    sample.gt_instances = truth
    sample.ignored_instances = InstanceData(
        bboxes=HorizontalBoxes(torch.zeros(0, 4)), labels=torch.zeros(0).long()
    )
    return dict(inputs=image, data_samples=sample)


def batch_of(*samples: dict) -> dict:
    """Samples as a dataloader collates them."""
    return dict(
        inputs=[s["inputs"] for s in samples], data_samples=[s["data_samples"] for s in samples]
    )
