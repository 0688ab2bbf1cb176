"""CSP's head: a centre map, a scale map and an offset map at one stride; no anchors."""

from __future__ import annotations

import torch
from mmcv.cnn import ConvModule, Scale
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.utils import filter_scores_and_topk
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdyn.models.csp.coding import decode_boxes
from mmdyn.models.csp.targets import csp_targets, stack_targets
from mmdyn.registry import MODELS

_LEAST_SCALE = 0.6931  # log 2: scale errors of boxes below two cells are not blown up further
_INIT = dict(
    type="Normal",
    layer="Conv2d",
    std=0.01,
    override=dict(type="Normal", name="center", std=0.01, bias_prob=0.01),
)


@MODELS.register_module()
class CSPHead(BaseDenseHead):
    """Center and Scale Prediction: is this cell a person's centre, how tall, where exactly.

    A 3x3 convolution with group norm (a tower) before each of three 3x3 outputs.

    Args:
        in_channels (int): Of the neck's map. Default 768.
        feat_channels (int): Of the towers. Default 256.
        num_classes (int): Default 1.
        stride (int): Pixels a cell. Default 4.
        shared_tower (bool): One tower for the three outputs. Default False.
        predict_width (bool): Learn widths too; otherwise ``aspect`` times the height.
            Default False.
        aspect (float): Width over height. Default 0.41.
        scale_radius (int): Cells to each side of a centre that learn its scale. Default 2.
        norm_cfg (dict | None): Of the towers; by default group norm of 32 groups.
        loss_center (dict | None): By default ``mmdyn.CenterFocalLoss``, weight 0.01.
        loss_scale (dict | None): Of the scale relative to its target; by default SmoothL1Loss.
        loss_offset (dict | None): By default SmoothL1Loss, weight 0.1.
        train_cfg (dict | None): Not used; a detector hands it over.
        test_cfg (dict | None): ``score_thr``, ``nms_pre``, ``nms``, ``max_per_img``,
            ``min_bbox_size``.
        init_cfg (dict | None): mmengine's; by default normal with std 0.01, centres at 1 %.
    """

    def __init__(
        self,
        in_channels: int = 768,
        feat_channels: int = 256,
        num_classes: int = 1,
        stride: int = 4,
        shared_tower: bool = False,
        predict_width: bool = False,
        aspect: float = 0.41,
        scale_radius: int = 2,
        norm_cfg: dict | None = None,
        loss_center: dict | None = None,
        loss_scale: dict | None = None,
        loss_offset: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or _INIT)
        if stride < 1 or scale_radius < 0 or not aspect > 0:
            raise ValueError(
                "expected stride >= 1 (that of the neck's output), scale_radius >= 0 and aspect > "
                f"0, got stride={stride}, scale_radius={scale_radius}, aspect={aspect}"
            )
        self.num_classes, self.stride = num_classes, stride
        self.predict_width, self.aspect, self.scale_radius = predict_width, aspect, scale_radius
        self.train_cfg, self.test_cfg = train_cfg, test_cfg
        norm_cfg = norm_cfg or dict(type="GN", num_groups=32, requires_grad=True)
        names = ("shared",) if shared_tower else ("center", "scale", "offset")
        tower = dict(kernel_size=3, padding=1, norm_cfg=norm_cfg)
        self.towers = nn.ModuleDict(
            {name: ConvModule(in_channels, feat_channels, **tower) for name in names}
        )
        self.center = nn.Conv2d(feat_channels, num_classes, 3, padding=1)
        self.scale = nn.Conv2d(feat_channels, 2 if predict_width else 1, 3, padding=1)
        self.offset = nn.Conv2d(feat_channels, 2, 3, padding=1)
        self.scale_gain, self.offset_gain = Scale(1.0), Scale(1.0)
        smooth = dict(type="mmdet.SmoothL1Loss", beta=1.0)
        self.loss_center = MODELS.build(
            loss_center or dict(type="mmdyn.CenterFocalLoss", loss_weight=0.01)
        )
        self.loss_scale = MODELS.build(loss_scale or dict(smooth, loss_weight=1.0))
        self.loss_offset = MODELS.build(loss_offset or dict(smooth, loss_weight=0.1))

    def forward(self, feats: tuple[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """One map (N, in_channels, H, W) to logits of centres, scales and offsets."""
        (x,) = feats
        if "shared" in self.towers:
            center = scale = offset = self.towers["shared"](x)
        else:
            center, scale, offset = (self.towers[n](x) for n in ("center", "scale", "offset"))
        return (
            [self.center(center)],
            [self.scale_gain(self.scale(scale))],
            [self.offset_gain(self.offset(offset))],
        )

    def loss_by_feat(
        self,
        centers: list[Tensor],
        scales: list[Tensor],
        offsets: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData] | None = None,
    ) -> dict[str, Tensor]:
        """The three losses; arguments as mmdet's heads take them."""
        center, scale, offset = centers[0].float(), scales[0].float(), offsets[0].float()
        ignored = batch_gt_instances_ignore or [None] * len(batch_gt_instances)
        targets = stack_targets(
            [
                csp_targets(
                    truth.bboxes, truth.labels, None if skip is None else skip.bboxes,
                    tuple(center.shape[2:]), self.stride, self.num_classes, self.predict_width,
                    self.scale_radius,
                )
                for truth, skip in zip(batch_gt_instances, ignored)
            ]
        )  # fmt: skip
        people = reduce_mean(targets.offset_weight.sum()).clamp(min=1)
        patches = reduce_mean(targets.scale_weight.sum()).clamp(min=1) * scale.shape[1]
        size = targets.scale.abs().clamp(min=_LEAST_SCALE)
        return dict(
            loss_center=self.loss_center(
                center, targets.center, targets.center_weight, avg_factor=people
            ),
            loss_scale=self.loss_scale(
                scale / size, targets.scale / size,
                targets.scale_weight.expand_as(scale), avg_factor=patches,
            ),
            loss_offset=self.loss_offset(
                offset, targets.offset, targets.offset_weight.expand_as(offset), avg_factor=people
            ),
        )  # fmt: skip

    def predict_by_feat(
        self,
        centers: list[Tensor],
        scales: list[Tensor],
        offsets: list[Tensor],
        batch_img_metas: list[dict],
        cfg: dict | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> list[InstanceData]:
        """Boxes, scores and labels of each image."""
        maps = [m[0].detach().float() for m in (centers, scales, offsets)]
        cfg = self.test_cfg if cfg is None else cfg
        found = []
        for meta, *image in zip(batch_img_metas, *maps):
            results = self._decode(*image, meta, cfg)
            found.append(
                self._bbox_post_process(
                    results=results, cfg=cfg, rescale=rescale, with_nms=with_nms, img_meta=meta
                )
            )
        return found

    def _decode(self, center: Tensor, scale: Tensor, offset: Tensor, meta: dict, cfg):
        """The candidates of one image before non-maximum suppression, best first."""
        scores, labels, kept, _ = filter_scores_and_topk(
            center.sigmoid().flatten(1).T, cfg.get("score_thr", 0.0), cfg.get("nms_pre", 1000)
        )
        width = center.shape[2]
        cells = torch.stack([kept // width, kept % width], 1)
        boxes = decode_boxes(
            cells, offset.flatten(1).T[kept], scale.flatten(1).T[kept], self.stride, self.aspect
        )
        height, width = meta["img_shape"][:2]
        boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height] * 2))
        return InstanceData(bboxes=boxes, scores=scores, labels=labels)
