"""The model that a classification config names."""

from __future__ import annotations

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement

from mmdyn.registry import MODELS


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """Backbone, neck and head for one label an image; mmpretrain's class of that name in small.

    mmpretrain's own needs torchvision for its pipelines and metrics; this one needs mmengine.

    Args:
        backbone (dict): Images to a tuple of features.
        neck (dict | None): Features to features. Default None.
        head (dict | None): Features to scores; without one only features come out. Default None.
        data_preprocessor (dict | None): Default ``dict(type='mmdyn.ClsDataPreprocessor')``.
        train_cfg (dict | None): Must be empty: batch augmentation is mmpretrain's. Default None.
        init_cfg (dict | None): Weights to start from. Default None.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        data_preprocessor: dict | None = None,
        train_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if train_cfg:
            raise ValueError(
                f"expected no train_cfg, got {train_cfg}; mixup and the like are mmpretrain's, "
                "set default_scope='mmpretrain' to use its ImageClassifier."
            )
        preprocessor = dict(data_preprocessor or {})
        preprocessor.setdefault("type", "mmdyn.ClsDataPreprocessor")
        super().__init__(preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = None if neck is None else MODELS.build(neck)
        self.head = None if head is None else MODELS.build(head)

    @property
    def with_neck(self) -> bool:
        return self.neck is not None

    @property
    def with_head(self) -> bool:
        return self.head is not None

    def extract_feat(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Normalised images (N, 3, H, W) to a tuple of features."""
        features = self.backbone(inputs)
        return self.neck(features) if self.with_neck else features

    def forward(
        self,
        inputs: torch.Tensor,
        data_samples: list[BaseDataElement] | None = None,
        mode: str = "tensor",
    ) -> torch.Tensor | tuple | dict | list[BaseDataElement]:
        """Scores (N, classes) for 'tensor', losses for 'loss', samples for 'predict'."""
        if mode == "tensor":
            features = self.extract_feat(inputs)
            return self.head(features) if self.with_head else features
        if mode == "loss":
            return self.loss(inputs, data_samples)
        if mode == "predict":
            return self.predict(inputs, data_samples)
        raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}.")

    def loss(self, inputs: torch.Tensor, data_samples: list[BaseDataElement]) -> dict:
        """Losses by name."""
        return self.head.loss(self.extract_feat(inputs), data_samples)

    def predict(
        self, inputs: torch.Tensor, data_samples: list[BaseDataElement] | None = None
    ) -> list[BaseDataElement]:
        """The samples with scores and labels."""
        return self.head.predict(self.extract_feat(inputs), data_samples)
