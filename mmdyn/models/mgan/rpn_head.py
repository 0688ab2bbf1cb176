"""mmdet's RPN, whose boxes keep their precision under autocast."""

from __future__ import annotations

import torch
from mmdet.models.dense_heads import RPNHead
from torch import Tensor

from mmdyn.registry import MODELS


@MODELS.register_module()
class AutocastRPNHead(RPNHead):
    """``RPNHead`` that gives float32 scores and boxes where its convolutions ran in halves.

    Coordinates of 1024 px would be rounded to 8 px in bfloat16, which mmcv's NMS does not take
    either, nor float16 on a CPU. Arguments and weights are those of ``mmdet.models.RPNHead``.
    """

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and box deltas of one level."""
        scores, deltas = super().forward_single(x)
        if scores.dtype in (torch.float16, torch.bfloat16):
            return scores.float(), deltas.float()
        return scores, deltas
