"""The visible part of each box, through any pipeline: whatever moves a box moves its part too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps

import numpy as np
import torch
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs
from mmdet.structures.bbox import HorizontalBoxes, register_box, register_box_converter
from torch import Tensor

from mmdyn.registry import TRANSFORMS


@register_box("hbox_visible", force=True)
class VisibleBoxes(HorizontalBoxes):
    """Boxes (..., 4) that carry the box of their visible part along.

    All that mmdet's transforms do to boxes, and what tensors can do, is done to both, so that
    nobody need know.

    Args:
        data: See ``HorizontalBoxes``.
        *args: See ``HorizontalBoxes``.
        visible (Tensor | ndarray | None): The parts (..., 4); None where all is visible.
            Default None.
        **kwargs: See ``HorizontalBoxes``.
    """

    def __init__(self, data, *args, visible=None, **kwargs) -> None:
        super().__init__(data, *args, **kwargs)
        parts = self.tensor.clone() if visible is None else torch.as_tensor(visible)
        self.visible = HorizontalBoxes(parts.to(self.tensor).reshape(self.tensor.shape))

    def flip_(self, *args, **kwargs) -> None:
        super().flip_(*args, **kwargs)
        self.visible.flip_(*args, **kwargs)

    def translate_(self, *args, **kwargs) -> None:
        super().translate_(*args, **kwargs)
        self.visible.translate_(*args, **kwargs)

    def clip_(self, *args, **kwargs) -> None:
        super().clip_(*args, **kwargs)
        self.visible.clip_(*args, **kwargs)

    def rotate_(self, *args, **kwargs) -> None:
        super().rotate_(*args, **kwargs)
        self.visible.rotate_(*args, **kwargs)

    def project_(self, *args, **kwargs) -> None:
        super().project_(*args, **kwargs)
        self.visible.project_(*args, **kwargs)

    def rescale_(self, *args, **kwargs) -> None:
        super().rescale_(*args, **kwargs)
        self.visible.rescale_(*args, **kwargs)

    def resize_(self, scale_factor: tuple[float, float]) -> None:
        """Resizes the boxes about their centres; the parts keep their place in them."""
        centres = self.centers
        super().resize_(scale_factor)
        factor = torch.as_tensor(scale_factor).to(self.tensor).repeat(2)
        centres = torch.cat([centres, centres], -1)
        self.visible.tensor = centres + (self.visible.tensor - centres) * factor

    def __getitem__(self, index) -> VisibleBoxes:
        return self._of(super().__getitem__(index), self.visible[index])

    def __setitem__(self, index, values: VisibleBoxes) -> None:
        super().__setitem__(index, values)
        self.visible[index] = values.visible

    def __deepcopy__(self, memo) -> VisibleBoxes:
        return self.clone()

    @classmethod
    def cat(cls, box_list: Sequence[VisibleBoxes], dim: int = 0) -> VisibleBoxes:
        """Several as one."""
        whole = HorizontalBoxes.cat(list(box_list), dim)
        return cls._of(whole, HorizontalBoxes.cat([boxes.visible for boxes in box_list], dim))

    @classmethod
    def stack(cls, box_list: Sequence[VisibleBoxes], dim: int = 0) -> VisibleBoxes:
        """Several along a new dimension."""
        whole = HorizontalBoxes.stack(list(box_list), dim)
        return cls._of(whole, HorizontalBoxes.stack([boxes.visible for boxes in box_list], dim))

    @classmethod
    def _of(cls, boxes: HorizontalBoxes, visible: HorizontalBoxes) -> VisibleBoxes:
        """Boxes with these parts; both keep the memory that they have."""
        made = cls(boxes.tensor, visible=boxes.tensor, clone=False)
        made.visible = HorizontalBoxes(visible.tensor, clone=False)
        return made


def _with_parts(name: str) -> Callable:
    """A method of tensors, done to boxes and parts alike."""
    stock = getattr(HorizontalBoxes, name)

    @wraps(stock)
    def both(self: VisibleBoxes, *args, **kwargs):
        whole = stock(HorizontalBoxes(self.tensor, clone=False), *args, **kwargs)
        parts = stock(self.visible, *args, **kwargs)
        if isinstance(whole, list):
            return [VisibleBoxes._of(*pair) for pair in zip(whole, parts)]
        return VisibleBoxes._of(whole, parts)

    return both


for _name in (
    "to", "cpu", "cuda", "clone", "detach", "view", "reshape", "expand", "repeat", "transpose",
    "permute", "split", "chunk", "unbind", "flatten", "squeeze", "unsqueeze",
):  # fmt: skip
    setattr(VisibleBoxes, _name, _with_parts(_name))


@register_box_converter("hbox_visible", "hbox", force=True)
def whole_boxes(boxes: Tensor) -> Tensor:
    """The boxes (..., 4) alone."""
    return boxes


@TRANSFORMS.register_module()
class LoadVisibleBoxes(LoadAnnotations):
    """``LoadAnnotations`` whose boxes carry their visible parts through the steps that follow.

    Reads ``visible_bbox`` of the instances, as ``mmdyn.PedestrianDataset`` has them; whose is
    missing, is all visible. End the pipeline with ``mmdyn.PackVisibleBoxes``.

    Args:
        **kwargs: See ``mmdet.datasets.transforms.LoadAnnotations``.
    """

    def transform(self, results: dict) -> dict:
        """The stock step's results, ``gt_bboxes`` with visible parts."""
        results = super().transform(results)
        if "gt_bboxes" in results:
            parts = [x.get("visible_bbox", x["bbox"]) for x in results.get("instances", ())]
            parts = np.array(parts, np.float32).reshape(-1, 4)
            results["gt_bboxes"] = VisibleBoxes(results["gt_bboxes"].tensor, visible=parts)
        return results


@TRANSFORMS.register_module()
class PackVisibleBoxes(PackDetInputs):
    """``PackDetInputs`` that puts the visible parts in ``visible_bboxes`` beside ``bboxes``.

    Both ``gt_instances`` and ``ignored_instances`` have them, as tensors (N, 4).

    Args:
        **kwargs: See ``mmdet.datasets.transforms.PackDetInputs``.
    """

    def transform(self, results: dict) -> dict:
        """The stock step's result with ``visible_bboxes``."""
        packed = super().transform(results)
        sample = packed["data_samples"]
        for instances in (sample.gt_instances, sample.ignored_instances):
            boxes = instances.get("bboxes")
            if isinstance(boxes, VisibleBoxes):
                instances.bboxes = HorizontalBoxes(boxes.tensor)
                instances.visible_bboxes = boxes.visible.tensor
        return packed
