"""A two-stage detector's second stage with attention to the visible part of a person."""

from __future__ import annotations

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.utils import unpack_gt_instances
from torch import Tensor

from mmdyn.models.mgan.attention import visible_share
from mmdyn.registry import MODELS


@MODELS.register_module()
class MGANRoIHead(StandardRoIHead):
    """``StandardRoIHead`` that multiplies a proposal's features by a mask of the visible person.

    In training the mask of a positive proposal is held to the visible box of its person:
    ``gt_instances`` need ``visible_bboxes`` (N, 4), which ``mmdyn.LoadVisibleBoxes`` and
    ``mmdyn.PackVisibleBoxes`` put there.

    Args:
        attention (dict | None): Module that gives attended features and logits. Default
            dict(type='mmdyn.MGANAttention').
        loss_attention (dict | None): Loss between logits and visible shares, both (P, h * w).
            Default binary cross entropy with weight 0.5.
        **kwargs: See ``mmdet.models.StandardRoIHead``; without a mask head.
    """

    def __init__(
        self, attention: dict | None = None, loss_attention: dict | None = None, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        if self.with_mask:
            raise ValueError("MGANRoIHead has no mask head; leave mask_head out of its config.")
        self.attention = MODELS.build(attention or dict(type="mmdyn.MGANAttention"))
        self.loss_attention = MODELS.build(
            loss_attention or dict(type="mmdet.CrossEntropyLoss", use_sigmoid=True, loss_weight=0.5)
        )

    def loss(self, x: tuple[Tensor], rpn_results_list: list, batch_data_samples: list) -> dict:
        """Losses of classes, boxes and masks of the proposals of a batch."""
        truths, ignored, _ = unpack_gt_instances(batch_data_samples)
        sampled = []
        for index, (proposals, truth) in enumerate(zip(rpn_results_list, truths)):
            proposals.priors = proposals.pop("bboxes")
            assigned = self.bbox_assigner.assign(proposals, truth, ignored[index])
            sampled.append(
                self.bbox_sampler.sample(
                    assigned, proposals, truth, feats=[level[index][None] for level in x]
                )
            )
        results = self.bbox_loss(x, sampled)
        return {
            **results["loss_bbox"],
            "loss_attention": self.attention_loss(results["attention_logits"], sampled, truths),
        }

    def attention_loss(self, logits: Tensor, sampled: list, truths: list) -> Tensor:
        """The masks' loss over positive proposals; 0 without one.

        Args:
            logits: (R, 1, h, w) of all sampled proposals, image after image, positives first.
            sampled: Of each image what its sampler chose.
            truths: Of each image its ``gt_instances``.
        """
        targets, chosen, start = [], [], 0
        for result, truth in zip(sampled, truths):
            positives = len(result.pos_priors)
            visible = self._visible(truth)[result.pos_assigned_gt_inds]
            targets.append(visible_share(result.pos_priors, visible, logits.shape[-2:]))
            chosen.append(logits[start : start + positives, 0])
            start += positives + len(result.neg_priors)
        chosen, targets = torch.cat(chosen).float().flatten(1), torch.cat(targets).flatten(1)
        if not len(chosen):
            return logits.float().sum() * 0.0
        return self.loss_attention(chosen, targets)

    def _bbox_forward(self, x: tuple[Tensor], rois: Tensor) -> dict:
        """The stock head's results on attended features, and the masks' logits."""
        features = self._features(x[: self.bbox_roi_extractor.num_inputs], rois)
        if self.with_shared_head:
            features = self.shared_head(features)
        features, logits = self.attention(features)
        cls_score, bbox_pred = self.bbox_head(features)
        # Halves are too coarse for boxes, and NMS does not know them on a CPU.
        if cls_score.dtype in (torch.float16, torch.bfloat16):
            cls_score, bbox_pred = cls_score.float(), bbox_pred.float()
        return dict(
            cls_score=cls_score, bbox_pred=bbox_pred, bbox_feats=features, attention_logits=logits
        )

    def _features(self, x: tuple[Tensor], rois: Tensor) -> Tensor:
        # RoIAlign has no bfloat16, and float16 on CUDA alone.
        known = (torch.float32, torch.float64, torch.float16 if x[0].is_cuda else None)
        if x[0].dtype in known:
            return self.bbox_roi_extractor(x, rois)
        with torch.autocast(x[0].device.type, enabled=False):
            return self.bbox_roi_extractor(tuple(level.float() for level in x), rois.float())

    @staticmethod
    def _visible(truth) -> Tensor:
        if "visible_bboxes" not in truth:
            raise KeyError(
                "expected gt_instances with 'visible_bboxes' to train MGANRoIHead, got "
                f"{list(truth.keys())}; load with mmdyn.LoadVisibleBoxes (after it any of mmdet's "
                "transforms) and pack with mmdyn.PackVisibleBoxes."
            )
        return truth.visible_bboxes
