"""Pipeline steps for one label an image, with mmpretrain's names and arguments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import BaseDataElement

from mmdyn.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomCrop(BaseTransform):
    """Cuts a random window out of the zero-padded ``img``.

    Args:
        crop_size (int): Side of the window in pixels.
        padding (int): Zeros on each side first, in pixels. Default 0.
    """

    def __init__(self, crop_size: int, padding: int = 0) -> None:
        if crop_size < 1 or padding < 0:
            raise ValueError(
                f"expected crop_size >= 1 and padding >= 0, got {crop_size} and {padding}."
            )
        self.crop_size, self.padding = crop_size, padding

    def transform(self, results: dict) -> dict:
        pad, side = self.padding, self.crop_size
        image = np.pad(results["img"], ((pad, pad), (pad, pad), (0, 0)))
        if min(image.shape[:2]) < side:
            raise ValueError(
                f"crop_size {side} exceeds the padded image {image.shape[:2]}; pad or resize more."
            )
        top, left = (np.random.randint(length - side + 1) for length in image.shape[:2])
        results["img"] = image[top : top + side, left : left + side]
        results["img_shape"] = (side, side)
        return results


@TRANSFORMS.register_module()
class PackInputs(BaseTransform):
    """The image as a tensor, its label and facts as a data element.

    Args:
        meta_keys (Sequence[str]): Facts to keep where the item has them. Default the path, both
            shapes, the flip.
    """

    def __init__(
        self,
        meta_keys: Sequence[str] = ("img_path", "ori_shape", "img_shape", "flip", "sample_idx"),
    ) -> None:
        self.meta_keys = meta_keys

    def transform(self, results: dict) -> dict:
        """``inputs`` (3, H, W) of the image's type, ``data_samples`` with ``gt_label`` (1,)."""
        image = np.ascontiguousarray(results["img"].transpose(2, 0, 1))
        known = {key: results[key] for key in self.meta_keys if key in results}
        sample = BaseDataElement(metainfo=known)
        if "gt_label" in results:
            label = torch.tensor([results["gt_label"]], dtype=torch.int64)
            sample.set_field(label, "gt_label", dtype=torch.Tensor)
        return dict(inputs=torch.from_numpy(image), data_samples=sample)
