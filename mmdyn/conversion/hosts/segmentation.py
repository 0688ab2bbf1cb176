"""What becomes of a segmentor's logits: methods of mmseg that get blocks, and what stands in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from mmdyn.blocks import BlockTensor, smooth
from mmdyn.conversion.hosts.pixel_loss import LabelPadding, Size
from mmdyn.conversion.tracking import StandIn


class SmoothMethod(StandIn):
    """Stands in for a head's method that takes logits: it gets them dense, without seams.

    Attributes:
        padding: Of the call at hand, which logits and labels of a loss are without; or None.
    """

    padding: LabelPadding | None = None

    def __call__(self, logits, *args, **kwargs):
        logits = tree_map(lambda v: smooth(v) if isinstance(v, BlockTensor) else v, logits)
        padding = self.padding
        if padding is None or padding.lifted or not padding.labels or not _has_maps(logits):
            return self.stock(logits, *args, **kwargs)
        padding.take_off()
        try:
            return self.stock(tree_map(padding.crop, logits), *args, **kwargs)
        finally:
            padding.put_on()


def _has_maps(logits) -> bool:
    return any(isinstance(v, Tensor) and v.dim() == 4 for v in tree_leaves(logits))


@contextmanager
def padded_labels(model: nn.Module, samples: list, given: Size, size: Size) -> Iterator[None]:
    """While it lasts, label maps are as large as the padded images, but in the heads' losses."""
    head = getattr(model, "decode_head", None)
    head = head[-1] if isinstance(head, nn.ModuleList) else head
    padding = LabelPadding(samples, given, size, getattr(head, "ignore_index", 255))
    methods = [vars(module).get("loss_by_feat") for module in model.modules()]
    methods = [method for method in methods if isinstance(method, SmoothMethod)]
    padding.put_on()
    for method in methods:
        method.padding = padding
    try:
        yield
    finally:
        for method in methods:
            method.padding = None
        padding.take_off()


class BlockLabels(StandIn):
    """Stands in for mmseg's ``postprocess_result``: copied blocks keep the labels they had.

    The stock method looks for the highest class of every pixel, which takes as long as a light
    network. Labels and logits are those that it gives. Images that it resizes or flips, and binary
    logits, are left to it.
    """

    @staticmethod
    def serves(model: nn.Module) -> bool:
        """Whether the model's method is mmseg's own, which is what this one knows."""
        method = getattr(type(model), "postprocess_result", None)
        return getattr(method, "__qualname__", "") == "BaseSegmentor.postprocess_result"

    def __call__(self, seg_logits, data_samples=None):
        crops = _crops(seg_logits, data_samples)
        if crops is None:
            return self.stock(seg_logits, data_samples)
        from mmengine.structures import PixelData

        labels = seg_logits.argmax(1, keepdim=True).composite("labels")
        logits = seg_logits.composite("logits")
        for i, (sample, (rows, columns)) in enumerate(zip(data_samples, crops)):
            parts = dict(seg_logits=logits, pred_sem_seg=labels)
            sample.set_data(
                {
                    name: PixelData(data=_own(dense[i, :, rows, columns]))
                    for name, dense in parts.items()
                }
            )
        return data_samples


def _own(dense: Tensor) -> Tensor:
    """A copy (C, h, w) in the memory's order: what it was taken from is written in later frames."""
    rows = dense.permute(1, 2, 0).clone(memory_format=torch.contiguous_format)
    return rows.permute(2, 0, 1)


def _crops(seg_logits, data_samples) -> list[tuple[slice, slice]] | None:
    """Rows and columns of each image without its padding; None where the stock method is needed."""
    if not isinstance(seg_logits, BlockTensor) or data_samples is None or seg_logits.shape[1] == 1:
        return None
    height, width = seg_logits.shape[2:]
    crops = []
    for sample in data_samples:
        meta = sample.metainfo
        padding = meta.get("img_padding_size", meta.get("padding_size", (0, 0, 0, 0)))
        left, right, top, bottom = padding
        size = (height - top - bottom, width - left - right)
        if meta.get("flip") or tuple(meta.get("ori_shape", ()))[:2] != size:
            return None
        crops.append((slice(top, height - bottom), slice(left, width - right)))
    return crops
