"""Crops of one size around a random object; smaller images are set into a plane of mean colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.structures.bbox import autocast_box_type

from mmdyn.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CropAroundBox(BaseTransform):
    """Cuts the image to one size with a random object's centre in it, or paves it to that size.

    Each axis by itself: where the image is longer than the crop, a random object that is not
    ignored has its centre at a random place of the crop (any place of the image where there is no
    object); where it is shorter, it is set at a random place among ``pave_color``. Objects of which
    too little is left become ignored regions: neither people nor background.

    Required keys: img, gt_bboxes, gt_bboxes_labels; gt_ignore_flags where there are any.
    Modified keys: the same and img_shape.

    Args:
        size (tuple): Height and width of the result in pixels.
        min_width (float): Objects that are narrower are ignored, in pixels. Default 16.
        min_share (float): Objects of which less is left of their area are ignored. Default 0.5.
        pave_color (Sequence[float]): In the image's channel order. Default: ImageNet's mean, BGR.
        drop (bool): Drop such objects instead; their pixels are background then. Default False.
    """

    def __init__(
        self,
        size: tuple[int, int],
        min_width: float = 16.0,
        min_share: float = 0.5,
        pave_color: Sequence[float] = (103.53, 116.28, 123.675),
        drop: bool = False,
    ) -> None:
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"size must be a height and a width in pixels, got {size}")
        self.size, self.min_width, self.min_share = tuple(size), min_width, min_share
        self.pave_color, self.drop = tuple(pave_color), drop

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Crops or paves ``results``."""
        if results.get("gt_masks") is not None or results.get("gt_seg_map") is not None:
            raise ValueError(
                "CropAroundBox moves boxes only, and the results hold masks; load them without "
                "(LoadAnnotations with with_mask=False) or use RandomCrop"
            )
        image, boxes = results["img"], results["gt_bboxes"]
        flags = results.get("gt_ignore_flags", np.zeros(len(boxes), bool)).astype(bool)
        shifts = self._shifts(image.shape[:2], boxes.tensor.numpy(), flags)
        results["img"] = self._pasted(image, shifts)
        results["img_shape"] = self.size
        areas = boxes.areas.clamp(min=1e-6)
        boxes.translate_((shifts[1], shifts[0]))
        boxes.clip_(self.size)
        share = (boxes.areas / areas).numpy()
        small = (boxes.widths.numpy() < self.min_width) | (share < self.min_share)
        inside = (boxes.areas > 0).numpy()
        kept = inside & (flags | ~small) if self.drop else inside
        results["gt_bboxes"] = boxes[kept]
        results["gt_bboxes_labels"] = results["gt_bboxes_labels"][kept]
        results["gt_ignore_flags"] = (flags | small)[kept]
        return results

    def _shifts(self, shape, boxes: np.ndarray, flags: np.ndarray) -> list[int]:
        """Pixels that the image moves, down and right."""
        people = boxes[~flags]
        chosen = people[np.random.randint(len(people))] if len(people) else None
        shifts = []
        for axis, (have, want) in enumerate(zip(shape, self.size)):
            if have <= want:
                shifts.append(np.random.randint(want - have + 1))
                continue
            low, high = 0, have - want
            if chosen is not None:
                middle = int(chosen[1 - axis] + chosen[3 - axis]) // 2
                low, high = np.clip([middle - want + 1, middle], low, high)
            shifts.append(-np.random.randint(low, high + 1))
        return [int(s) for s in shifts]

    def _pasted(self, image: np.ndarray, shifts: list[int]) -> np.ndarray:
        out = np.empty((*self.size, image.shape[2]), image.dtype)
        out[:] = np.asarray(self.pave_color).round().astype(image.dtype)
        places = []
        for shift, have, want in zip(shifts, image.shape, self.size):
            start = max(shift, 0)
            length = min(have + min(shift, 0), want - start)
            places.append((slice(start, start + length), slice(-min(shift, 0), None)))
        (to_y, from_y), (to_x, from_x) = places
        cut = image[from_y, from_x]
        out[to_y, to_x] = cut[: to_y.stop - to_y.start, : to_x.stop - to_x.start]
        return out

    def __repr__(self) -> str:
        return (
            f"CropAroundBox(size={self.size}, min_width={self.min_width}, "
            f"min_share={self.min_share}, drop={self.drop})"
        )
