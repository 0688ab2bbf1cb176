"""From features to class scores."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.structures import BaseDataElement
from torch import nn

from mmdyn.registry import MODELS


@MODELS.register_module()
class GlobalAveragePooling(nn.Module):
    """The mean over all pixels: (N, C, H, W) to (N, C), for each map of a tuple."""

    def forward(self, features: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(F.adaptive_avg_pool2d(x, 1).flatten(1) for x in features)


@MODELS.register_module()
class CrossEntropyLoss(nn.Module):
    """Softmax cross-entropy.

    Args:
        loss_weight (float): Factor. Default 1.0.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Scores (N, classes) and labels (N,) to a number."""
        return self.loss_weight * F.cross_entropy(scores.float(), labels)


@MODELS.register_module()
class LinearClsHead(BaseModule):
    """One linear layer on the last of the features.

    Args:
        num_classes (int): Number of classes.
        in_channels (int): Channels of the features.
        loss (dict | None): Default ``dict(type='mmdyn.CrossEntropyLoss')``.
        topk (tuple): Kept for mmpretrain's configs; the metric says which. Default (1,).
        init_cfg (dict | None): Default normal weights, deviation 0.01.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss: dict | None = None,
        topk: tuple[int, ...] = (1,),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type="Normal", layer="Linear", std=0.01))
        if num_classes < 1 or in_channels < 1:
            raise ValueError(
                f"expected positive num_classes and in_channels, got {num_classes}, {in_channels}."
            )
        self.num_classes, self.topk = num_classes, topk
        self.loss_module = MODELS.build(loss or dict(type="mmdyn.CrossEntropyLoss"))
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Features (N, C) to scores (N, classes), before the softmax."""
        return self.fc(features[-1])

    def loss(
        self, features: tuple[torch.Tensor, ...], samples: list[BaseDataElement]
    ) -> dict[str, torch.Tensor]:
        """The samples' ``gt_label``, one number each, against the scores."""
        scores = self(features)
        labels = torch.stack([s.gt_label.reshape(()) for s in samples]).to(scores.device)
        return dict(loss=self.loss_module(scores, labels))

    def predict(
        self, features: tuple[torch.Tensor, ...], samples: list[BaseDataElement] | None = None
    ) -> list[BaseDataElement]:
        """The samples with ``pred_score`` (classes,) and ``pred_label`` (1,)."""
        shares = self(features).float().softmax(1)
        samples = samples or [BaseDataElement() for _ in shares]
        for sample, share in zip(samples, shares):
            sample.set_field(share, "pred_score", dtype=torch.Tensor)
            sample.set_field(share.argmax().reshape(1), "pred_label", dtype=torch.Tensor)
        return samples
