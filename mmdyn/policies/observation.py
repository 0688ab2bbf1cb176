"""What a policy sees of a frame: plain tensors, no network and no stream objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

from torch import Tensor

TASK_KINDS = ("semseg", "detection", "instance")


@dataclass
class TaskOutput:
    """What the network said about one image; detached tensors on the network's device.

    Every coordinate and every map refers to the padded network input, ``image_size`` pixels.

    Args:
        kind: 'semseg', 'detection' or 'instance'.
        image_size: (H, W) of the padded network input.
        logits: semseg: (C, h, w) at any resolution; C = 1 means one foreground probability.
        boxes: detection, instance: (K, 4) as x1, y1, x2, y2 in pixels.
        scores: (K,), 0 to 1. Default: ones.
        labels: (K,) int64. Default: one class.
        masks: instance: (K, h, w) bool at any resolution.

    Attributes:
        distributions: What `class_distribution` found, by how finely it read the logits.
    """

    kind: str
    _: KW_ONLY
    image_size: tuple[int, int]
    logits: Tensor | None = None
    boxes: Tensor | None = None
    scores: Tensor | None = None
    labels: Tensor | None = None
    masks: Tensor | None = None
    distributions: dict[int, tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.kind not in TASK_KINDS:
            raise ValueError(f"kind must be one of {TASK_KINDS}, got {self.kind!r}.")
        if self.kind == "semseg":
            if self.logits is None or self.logits.dim() != 3:
                raise ValueError(
                    "a semseg TaskOutput needs logits of shape (C, h, w), got "
                    f"{_shape(self.logits)}; pass one image's logits, without the batch dimension."
                )
            return
        if self.boxes is None or self.boxes.dim() != 2 or self.boxes.shape[1] != 4:
            raise ValueError(
                f"a {self.kind} TaskOutput needs boxes of shape (K, 4), got {_shape(self.boxes)}; "
                "for an image without objects pass an empty (0, 4) tensor."
            )
        count = len(self.boxes)
        for name in ("scores", "labels", "masks"):
            value = getattr(self, name)
            if value is not None and len(value) != count:
                raise ValueError(f"{name} must have {count} entries like boxes, got {len(value)}.")

    def moved(self, by: Callable[[Tensor], Tensor]) -> TaskOutput:
        """The same output moved along with the picture: `by` moves a map (C, h, w)."""
        return self if self.logits is None else replace(self, logits=by(self.logits))


@dataclass
class Observation:
    """What a policy sees of one frame: N images, each the next frame of its own stream.

    Args:
        image: (N, 3, H, W) network input (normalised), padded to the grid.
        grid_size: (GH, GW) cells.
        change: (N, GH, GW) mean absolute difference between the image and the pixels last
            executed there, in the image's units; 0 where never executed.
        thumbnail: (N, 3, H/8, W/8) this frame, average-pooled.
        memory_thumbnail: (N, 3, H/8, W/8) the last executed pixels of every cell.
        age: (N, GH, GW) int64, frames since the cell was executed; 1 = in the frame before.
        last_grid: (N, GH, GW) bool, the cells executed in the frame before.
        task: the frame before's outputs, one per image; None on a first frame.
        oracle: dense outputs of this frame, only for a policy with ``needs_oracle``.
        decision: what a policy in learning mode keeps between ``scores`` and ``learn``, so that
            streams may be interleaved freely; nobody else reads it.
        log_weights: (N, GH, GW), from a policy that draws cells: the logarithm of how often it
            would draw each, up to a constant; for those who look at it.
    """

    image: Tensor
    grid_size: tuple[int, int]
    change: Tensor
    thumbnail: Tensor
    memory_thumbnail: Tensor
    age: Tensor
    last_grid: Tensor
    task: list[TaskOutput | None]
    oracle: list[TaskOutput] | None = None
    decision: Any = field(default=None, repr=False, compare=False)
    log_weights: Tensor | None = None

    def __post_init__(self) -> None:
        images = self.image.shape[0]
        cells = (images, *self.grid_size)
        for name in ("change", "age", "last_grid"):
            got = tuple(getattr(self, name).shape)
            if got != cells:
                raise ValueError(f"{name} must be (N, GH, GW) = {cells}, got {got}.")
        if self.thumbnail.shape != self.memory_thumbnail.shape:
            raise ValueError(
                f"thumbnail {_shape(self.thumbnail)} and memory_thumbnail "
                f"{_shape(self.memory_thumbnail)} must have one shape (N, 3, H/8, W/8)."
            )
        for name in ("task", "oracle"):
            value = getattr(self, name)
            if value is not None and len(value) != images:
                raise ValueError(
                    f"{name} must hold one entry per image ({images}), got {len(value)}."
                )


def _shape(value: Tensor | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value.shape)
