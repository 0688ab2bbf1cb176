"""Targets of the joints, and what the model takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import BaseDataElement, InstanceData

import mmdyn.models.pose  # noqa: F401  (registers the codecs)
from mmdyn.registry import KEYPOINT_CODECS, TRANSFORMS


@TRANSFORMS.register_module()
class GenerateTarget(BaseTransform):
    """Heatmaps and weights of the crop's joints.

    Args:
        encoder (dict): The codec.
    """

    def __init__(self, encoder: dict) -> None:
        self.encoder = KEYPOINT_CODECS.build(encoder)

    def transform(self, results: dict) -> dict:
        """Adds ``heatmaps`` (K, h, w) and ``keypoint_weights`` (1, K)."""
        if results["input_size"] != self.encoder.input_size:
            raise ValueError(
                f"expected crops of {self.encoder.input_size} px, the codec's input_size, got "
                f"{results['input_size']}; give TopdownAffine the same."
            )
        visible = results["keypoints_visible"]
        results.update(self.encoder.encode(results["transformed_keypoints"], visible))
        return results


@TRANSFORMS.register_module()
class PackPoseInputs(BaseTransform):
    """The crop as a tensor; truth, targets and facts as a data element with mmpose's fields.

    Args:
        meta_keys (Sequence[str]): Facts to keep where the item has them.
    """

    def __init__(
        self,
        meta_keys: Sequence[str] = (
            "id", "img_id", "img_path", "category_id", "ori_shape", "img_shape", "input_size",
            "input_center", "input_scale", "flip", "flip_indices", "head_size", "area",
        ),
    ) -> None:  # fmt: skip
        self.meta_keys = meta_keys

    def transform(self, results: dict) -> dict:
        """``inputs`` (3, H, W) uint8 and ``data_samples``."""
        sample = BaseDataElement(metainfo={k: results[k] for k in self.meta_keys if k in results})
        truth = dict(keypoints=results["keypoints"], keypoints_visible=results["keypoints_visible"])
        if "bbox" in results:
            truth["bboxes"] = np.asarray(results["bbox"], np.float32).reshape(1, 4)
        sample.gt_instances = InstanceData(**{k: torch.as_tensor(v) for k, v in truth.items()})
        if "heatmaps" in results:
            sample.gt_fields = BaseDataElement(heatmaps=torch.from_numpy(results["heatmaps"]))
            weights = torch.from_numpy(results["keypoint_weights"])
            sample.gt_instance_labels = InstanceData(keypoint_weights=weights)
        image = np.ascontiguousarray(results["img"].transpose(2, 0, 1))
        return dict(inputs=torch.from_numpy(image), data_samples=sample)
