"""The model that a pose config names."""

from __future__ import annotations

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement

from mmdyn.models.classification.preprocessor import ClsDataPreprocessor
from mmdyn.registry import MODELS


@MODELS.register_module()
class PoseDataPreprocessor(ClsDataPreprocessor):
    """Stacks crops of people and normalises them, with mmpose's names.

    Args:
        mean (list | None): Per channel, in pixel values. Default None: no normalisation.
        std (list | None): Per channel, in pixel values. Default None.
        bgr_to_rgb (bool): Turns BGR into RGB first. Default False.
        non_blocking (bool): Of the copy to the device. Default False.
    """

    def __init__(
        self,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        bgr_to_rgb: bool = False,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(mean, std, to_rgb=bgr_to_rgb, non_blocking=non_blocking)


@MODELS.register_module()
class TopdownPoseEstimator(BaseModel):
    """One person's joints in the crop around them; mmpose's class of that name in small.

    Args:
        backbone (dict): Crops to a tuple of maps.
        neck (dict | None): Maps to maps. Default None.
        head (dict | None): Maps to losses and joints. Default None.
        data_preprocessor (dict | None): Default ``dict(type='mmdyn.PoseDataPreprocessor')``.
        train_cfg (dict | None): Must be empty. Default None.
        test_cfg (dict | None): ``flip_test`` averages with the mirrored crop, whose heatmaps
            ``shift_heatmap`` moves by a pixel. Default off, both.
        init_cfg (dict | None): Weights to start from. Default None.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        data_preprocessor: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        known = {"flip_test", "flip_mode", "shift_heatmap"}
        test_cfg = dict(test_cfg or {})
        if train_cfg or set(test_cfg) - known or test_cfg.get("flip_mode", "heatmap") != "heatmap":
            raise ValueError(
                "expected no train_cfg and a test_cfg of flip_test (flip_mode 'heatmap') and "
                f"shift_heatmap, got {train_cfg} and {test_cfg}; other options are mmpose's."
            )
        preprocessor = dict(data_preprocessor or {})
        preprocessor.setdefault("type", "mmdyn.PoseDataPreprocessor")
        super().__init__(preprocessor, init_cfg)
        self.flip_test = bool(test_cfg.get("flip_test", False))
        self.shift_heatmap = bool(test_cfg.get("shift_heatmap", False))
        self.backbone = MODELS.build(backbone)
        self.neck = None if neck is None else MODELS.build(neck)
        self.head = None if head is None else MODELS.build(head)

    def extract_feat(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Normalised crops (N, 3, H, W) to a tuple of maps."""
        features = self.backbone(inputs)
        return features if self.neck is None else self.neck(features)

    def forward(
        self,
        inputs: torch.Tensor,
        data_samples: list[BaseDataElement] | None = None,
        mode: str = "tensor",
    ) -> tuple | list | dict:
        """Maps for 'tensor', losses for 'loss', samples for 'predict'."""
        if mode == "tensor":
            features = self.extract_feat(inputs)
            return features if self.head is None else self.head(features)
        if mode == "loss":
            return self.loss(inputs, data_samples)
        if mode == "predict":
            return self.predict(inputs, data_samples)
        raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}.")

    def loss(self, inputs: torch.Tensor, data_samples: list[BaseDataElement]) -> dict:
        """Losses by name."""
        return self.head.loss(self.extract_feat(inputs), data_samples)

    def predict(
        self, inputs: torch.Tensor, data_samples: list[BaseDataElement]
    ) -> list[BaseDataElement]:
        """The samples with joints in pixels of their images."""
        features = self.extract_feat(inputs)
        flipped = self.extract_feat(inputs.flip(3)) if self.flip_test else None
        return self.head.predict(features, data_samples, flipped, self.shift_heatmap)
