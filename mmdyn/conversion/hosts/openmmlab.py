"""mmdet's detectors and mmseg's segmentors as hosts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmdyn.conversion.hosts.base import Call, Host, noise_for, semseg_output
from mmdyn.conversion.hosts.pixel_loss import watch_losses
from mmdyn.conversion.hosts.segmentation import BlockLabels, SmoothMethod, padded_labels
from mmdyn.policies.observation import TaskOutput


def _samples(args: tuple, kwargs: dict) -> list:
    samples = kwargs.get("data_samples", args[1] if len(args) > 1 else None)
    return list(samples) if samples else []


def _mode(args: tuple, kwargs: dict) -> str:
    return kwargs.get("mode", args[2] if len(args) > 2 else "tensor")


class _OpenMMLabHost(Host):
    """What mmdet and mmseg share: ``forward(inputs, data_samples, mode)`` and metainfo."""

    def runs_dense(self, model, args: tuple, kwargs: dict) -> bool:
        return model.training or _mode(args, kwargs) == "loss"

    def call(self, args: tuple, kwargs: dict) -> Call:
        call = super().call(args, kwargs)
        samples = _samples(args, kwargs)
        if samples:
            call.metas = [sample.metainfo for sample in samples]
        return call

    def streams(self, call: Call, clip_id: Callable) -> list:
        for meta in call.metas:
            if meta.get("flip"):
                raise ValueError(
                    "test-time augmentation gives one frame several times, flipped and scaled, and "
                    "BlockCopy needs a clip's frames once and in order; test without --tta"
                )
        return super().streams(call, clip_id)

    def wants_loss(self, call: Call) -> bool:
        return _mode(call.args, call.kwargs) == "loss"

    def pad_metas(self, meta: dict, old: tuple[int, int], size: tuple[int, int]) -> dict:
        """Metainfo to set while the image is padded from `old` to `size`."""
        raise NotImplementedError

    @contextmanager
    def padded(self, call: Call, size: tuple[int, int]):
        samples = _samples(call.args, call.kwargs)
        old = tuple(call.image.shape[2:])
        before = [dict(sample.metainfo) for sample in samples]
        try:
            if old != size:
                for sample in samples:
                    sample.set_metainfo(self.pad_metas(sample.metainfo, old, size))
            yield
        finally:
            for sample, meta in zip(samples, before):
                for name in ("pad_shape", "batch_input_shape", "padding_size", "img_padding_size"):
                    if name in meta:
                        sample.set_metainfo({name: meta[name]})
                    elif name in sample:
                        delattr(sample, name)

    def finish(self, call: Call, outputs: Any, size: tuple[int, int]) -> Any:
        return outputs if _are_samples(outputs) else super().finish(call, outputs, size)

    def attach(self, outputs: Any, stats: dict) -> None:
        if _are_samples(outputs):
            for sample in outputs:
                sample.set_metainfo(dict(blockcopy_stats=stats))


def _are_samples(outputs: Any) -> bool:
    return isinstance(outputs, (list, tuple)) and all(hasattr(o, "metainfo") for o in outputs)


def example_metas(size: tuple[int, int]) -> dict:
    """Metainfo of an image that was neither resized nor padded."""
    return dict(
        img_id=0, img_path=None, ori_shape=size, img_shape=size, pad_shape=size,
        batch_input_shape=size, scale_factor=(1.0, 1.0), flip=False,
        border=(0, size[0], 0, size[1]),
    )  # fmt: skip


class DetectorHost(_OpenMMLabHost):
    """mmdet: boxes or masks in the data samples; metainfo ``batch_input_shape``."""

    def check_segblocks(self, model) -> None:
        raise ValueError(
            f"SegBlocks is for segmentation, got the detector {type(model).__name__}; for video "
            "there is BlockCopy"
        )

    def example(self, model, block) -> tuple[tuple, dict]:
        from mmdet.structures import DetDataSample

        image = noise_for(model, block)
        sample = DetDataSample(metainfo=example_metas(tuple(image.shape[2:])))
        return (image, [sample]), dict(mode="predict")

    def pad_metas(self, meta: dict, old, size) -> dict:
        return dict(
            batch_input_shape=size, pad_shape=(*size, 3)[: len(meta.get("pad_shape", size))]
        )

    def tasks(self, call: Call, outputs: Any, size) -> list[TaskOutput | None]:
        if not _are_samples(outputs):
            return [None] * call.image.shape[0]
        return [_detections(sample, size) for sample in outputs]


def _detections(sample, size: tuple[int, int]) -> TaskOutput | None:
    """Predictions, in the network input's pixels; panoptic and other outputs are not read."""
    found = getattr(sample, "pred_instances", None)
    if found is None:
        return None
    scale = sample.metainfo.get("scale_factor", (1.0, 1.0))[:2]
    masks = _small_masks(found.masks, scale, size) if "masks" in found else None
    if "bboxes" not in found or (masks is not None and not found.bboxes.any()):
        boxes = _mask_boxes(masks, size)  # SOLO-like: masks without boxes
    else:
        boxes = getattr(found.bboxes, "tensor", found.bboxes).float()
        boxes = boxes * boxes.new_tensor([*scale, *scale])
    kind = "detection" if masks is None else "instance"
    return TaskOutput(
        kind,
        boxes=boxes.detach(),
        scores=found.scores.float().detach(),
        labels=found.labels.detach(),
        masks=masks,
        image_size=size,
    )


def _small_masks(masks: Tensor, scale, size: tuple[int, int]) -> Tensor:
    """(K, H / 8, W / 8) bool over the padded input, from masks over the original image."""
    height, width = size[0] // 8, size[1] // 8
    ys = (torch.arange(height, device=masks.device) * 8 + 4) / scale[1]
    xs = (torch.arange(width, device=masks.device) * 8 + 4) / scale[0]
    inside = (ys < masks.shape[1])[:, None] & (xs < masks.shape[2])[None, :]
    ys = ys.long().clamp(max=masks.shape[1] - 1)
    xs = xs.long().clamp(max=masks.shape[2] - 1)
    return masks[:, ys[:, None], xs[None, :]].bool() & inside


def _mask_boxes(masks: Tensor, size: tuple[int, int]) -> Tensor:
    rows, cols = masks.any(2), masks.any(1)
    step = size[0] / masks.shape[1]
    low = torch.stack([cols.int().argmax(1), rows.int().argmax(1)], 1)
    high = torch.stack(
        [
            cols.shape[1] - cols.flip(1).int().argmax(1),
            rows.shape[1] - rows.flip(1).int().argmax(1),
        ],
        1,
    )
    boxes = torch.cat([low, high], 1).float() * step
    return boxes * masks.flatten(1).any(1)[:, None]


class SegmentorHost(_OpenMMLabHost):
    """mmseg: logits in the data samples; metainfo ``pad_shape`` and ``padding_size``."""

    outputs_maps = True

    def example(self, model, block) -> tuple[tuple, dict]:
        from mmseg.structures import SegDataSample

        image = noise_for(model, block)
        sample = SegDataSample(metainfo=example_metas(tuple(image.shape[2:])))
        return (image, [sample]), dict(mode="predict")

    def check(self, model) -> None:
        super().check(model)
        mode = (getattr(model, "test_cfg", None) or {}).get("mode", "whole")
        if mode != "whole":
            raise ValueError(
                f"test_cfg.mode='{mode}' runs crops of a frame one after the other, and blocks are "
                "of whole frames; set model.test_cfg.mode='whole'"
            )

    def copy_outputs(self, model) -> None:
        if BlockLabels.serves(model):
            model.__dict__["postprocess_result"] = BlockLabels(model, "postprocess_result")

    def smooth_outputs(self, model) -> None:
        for module in model.modules():
            for name in ("loss_by_feat", "predict_by_feat"):
                if callable(getattr(module, name, None)):
                    module.__dict__[name] = SmoothMethod(module, name)

    def loss_mode(self, call: Call) -> dict:
        samples = _samples(call.args, call.kwargs)
        if len(call.args) > 2 or not samples or any("gt_sem_seg" not in s for s in samples):
            raise ValueError(
                "expected data samples with gt_sem_seg, from which the oracle policy knows the "
                "loss of a block; put LoadAnnotations into the pipeline, or choose another policy"
            )
        return dict(mode="loss")

    def watch_losses(self, model):
        return watch_losses(model)

    def padded_labels(self, model, call: Call, size):
        samples = _samples(call.args, call.kwargs)
        return padded_labels(model, samples, tuple(call.image.shape[2:]), size)

    def pad_metas(self, meta: dict, old, size) -> dict:
        name = "img_padding_size" if "img_padding_size" in meta else "padding_size"
        left, right, top, bottom = meta.get(name, (0, 0, 0, 0))
        right, bottom = right + size[1] - old[1], bottom + size[0] - old[0]
        return {"pad_shape": size, name: [left, right, top, bottom]}

    def tasks(self, call: Call, outputs: Any, size) -> list[TaskOutput | None]:
        if not _are_samples(outputs):
            return super().tasks(call, outputs, size)
        valid = tuple(call.image.shape[2:])
        return [
            semseg_output(sample.seg_logits.data, size, valid) if "seg_logits" in sample else None
            for sample in outputs
        ]


class TrackerHost(Host):
    """mmdet's trackers take clips and call their detector past its ``forward``: refused."""

    def check_class(self, cls: type) -> None:
        raise ValueError(
            f"{cls.__name__} is a tracker: it takes clips (N, T, C, H, W) and has its own memory; "
            "convert its detector alone, from the detector's own config, and feed the tracker with "
            "what it finds"
        )


def _is_a(cls: type, package: str, *names: str) -> bool:
    return any(c.__module__.startswith(package) and c.__name__ in names for c in cls.mro())


def host_for(model: nn.Module | type) -> Host:
    """The host of a model or its class, known by its bases: neither package need be there."""
    cls = model if isinstance(model, type) else type(model)
    if _is_a(cls, "mmdet", "BaseMOTModel"):
        return TrackerHost()
    if _is_a(cls, "mmdet", "BaseDetector"):
        return DetectorHost()
    if _is_a(cls, "mmseg", "BaseSegmentor"):
        return SegmentorHost()
    return Host()
