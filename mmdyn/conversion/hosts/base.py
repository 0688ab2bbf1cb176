"""A host: how a network takes an image and says what it saw. The base serves any ``nn.Module``."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, is_dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map

from mmdyn.blocks import BlockTensor, LaidOutBlocks, smooth
from mmdyn.policies.observation import TaskOutput


@dataclass
class Call:
    """One call of a host's forward, its image taken out.

    Attributes:
        image: (N, C, H, W), as given.
        place: Where it stood: an index into `args` or a name in `kwargs`.
        args, kwargs: The call.
        metas: One dict an image, mmengine's metainfo; empty ones where there are none.
    """

    image: Tensor
    place: int | str
    args: tuple
    kwargs: dict
    metas: list[dict] = field(default_factory=list)

    def with_image(self, image: Tensor) -> tuple[tuple, dict]:
        """The arguments with another image."""
        if isinstance(self.place, str):
            return self.args, {**self.kwargs, self.place: image}
        args = list(self.args)
        args[self.place] = image
        return tuple(args), self.kwargs


class Host:
    """Any network that takes an image batch (N, C, H, W) as its first 4-D argument.

    Attributes:
        outputs_maps: The output is a map of the picture: it can be moved along with it.
    """

    outputs_maps = False

    def runs_dense(self, model, args: tuple, kwargs: dict) -> bool:
        """Whether this call is not a frame of a video: training."""
        return model.training

    def check_class(self, cls: type) -> None:
        """Raises ValueError for a class whose models cannot be converted."""

    def check(self, model) -> None:
        """Raises ValueError for a model that cannot be converted."""
        self.check_class(type(model))

    def check_segblocks(self, model) -> None:
        """Raises ValueError for a model that cannot run on blocks of two resolutions."""
        self.check(model)
        for path, module in model.named_modules():
            if getattr(module, "with_cp", False):
                raise ValueError(
                    f"'{path}' recomputes its forward pass (with_cp=True), and SegBlocks keeps no "
                    "blocks for that; set with_cp=False"
                )

    def copy_outputs(self, model) -> None:
        """Where outputs are made of logits, those of copied blocks are copied as well."""

    def smooth_outputs(self, model) -> None:
        """Where the network's outputs are enlarged, half-resolution blocks are, without seams."""

    def wants_loss(self, call: Call) -> bool:
        """Whether the call returns a dict of losses."""
        return False

    def loss_mode(self, call: Call) -> dict:
        """Keywords that make the call return losses."""
        raise ValueError(
            "expected a segmentor of mmseg with labels: the loss per block is known there only; "
            "choose a policy that needs none, such as policy='heuristic'"
        )

    def watch_losses(self, model):
        """A context that collects the per-pixel losses (N, H, W) of the calls in it."""
        return nullcontext([])

    def padded_labels(self, model, call: Call, size: tuple[int, int]):
        """A context in which the call's label maps are padded to `size`."""
        return nullcontext()

    def example(self, model, block: tuple[int, int]) -> tuple[tuple, dict]:
        """Arguments for a trial frame: noise of two by two blocks."""
        return (noise_for(model, block),), {}

    def call(self, args: tuple, kwargs: dict) -> Call:
        """Finds the image."""
        candidates = [*enumerate(args), *kwargs.items()]
        for place, value in candidates:
            if isinstance(value, Tensor) and value.dim() == 4:
                return Call(value, place, args, kwargs, [{} for _ in range(value.shape[0])])
        shapes = [
            tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__ for _, v in candidates
        ]
        raise ValueError(f"expected an image batch (N, C, H, W) among the arguments, got {shapes}")

    def streams(self, call: Call, clip_id: Callable) -> list[tuple[Hashable, int | None]]:
        """Stream and frame number of each image; without any sign, its place in the batch."""
        return [_stream_of(meta, i, clip_id) for i, meta in enumerate(call.metas)]

    def padded(self, call: Call, size: tuple[int, int]):
        """A context in which the call's metainfo speaks of the image padded to `size`."""
        return nullcontext()

    def finish(self, call: Call, outputs: Any, size: tuple[int, int]) -> Any:
        """Dense outputs, cropped to what the unpadded image would have given."""
        height, width = call.image.shape[2:]

        def crop(value):
            if is_dataclass(value) and not isinstance(value, type):
                parts = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
                return replace(value, **{name: tree_map(crop, v) for name, v in parts.items()})
            if isinstance(value, (BlockTensor, LaidOutBlocks)):
                value = smooth(value) if isinstance(value, BlockTensor) else value.dense()
            if not isinstance(value, Tensor) or value.dim() != 4 or (height, width) == size:
                return value
            h = -(-value.shape[2] * height // size[0])
            w = -(-value.shape[3] * width // size[1])
            fits = value.shape[2] * 64 >= size[0] and value.shape[2] > 1
            return value[:, :, :h, :w] if fits else value

        return tree_map(crop, outputs)

    def tasks(self, call: Call, outputs: Any, size: tuple[int, int]) -> list[TaskOutput | None]:
        """What the network said, for the policy; None where it is not known how to read it."""
        first = outputs[0] if isinstance(outputs, (tuple, list)) and outputs else outputs
        if not isinstance(first, Tensor) or first.dim() != 4:
            return [None] * call.image.shape[0]
        return [semseg_output(logits, size) for logits in first]

    def attach(self, outputs: Any, stats: dict) -> None:
        """Puts the frame's statistics where a metric finds them."""


def noise_for(model, block: tuple[int, int]) -> Tensor:
    like = next(iter(model.parameters()), torch.zeros(1))
    dtype = like.dtype if like.is_floating_point() else torch.float32
    return torch.randn(1, 3, 2 * block[0], 2 * block[1], device=like.device, dtype=dtype)


def semseg_output(logits: Tensor, size: tuple[int, int], valid: tuple[int, int] | None = None):
    """A small TaskOutput of logits (C, h, w) that cover `valid` of the padded image `size`."""
    valid = valid or size
    target = [max(v // 8, 1) for v in valid]
    steps = [max(n // t, 1) for n, t in zip(logits.shape[1:], target)]
    small = logits[None, :, :: steps[0], :: steps[1]].to(torch.float32, copy=True)
    if list(small.shape[2:]) != target:
        small = F.interpolate(small, target, mode="nearest")
    pads = [max(s // 8, 1) - t for s, t in zip(size, target)]
    if any(p > 0 for p in pads):
        small = F.pad(small, (0, max(pads[1], 0), 0, max(pads[0], 0)), mode="replicate")
    return TaskOutput("semseg", logits=small[0].detach(), image_size=size)


def _stream_of(meta: dict, position: int, clip_id: Callable) -> tuple[Hashable, int | None]:
    if meta.get("video_id") is not None:
        return _plain(meta, "video_id", Hashable), _plain(meta, "frame_id", (Integral, type(None)))
    path = meta.get("img_path")
    found = clip_id(path) if path else None
    return (found.clip, found.frame) if found else (f"stream {position}", None)


def _plain(meta: dict, name: str, kind) -> Any:
    """A value of the metainfo; a tensor's or an array's only number.

    Raises:
        ValueError: It is not of that kind.
    """
    value = meta.get(name)
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, (np.ndarray, np.generic)) and value.size == 1:
        value = value.item()
    if not isinstance(value, kind):
        wanted = "a name or a number" if name == "video_id" else "an int, counting frames"
        raise ValueError(f"{name} in the metainfo must be {wanted}, got {value!r}")
    return value
