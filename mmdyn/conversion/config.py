"""What a user can say about each method; the config line spells the same fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from numbers import Integral, Real
from os import PathLike
from typing import Any, ClassVar


def _check(config: Any, name: str, wanted: str, fits: Callable[[float], bool]) -> None:
    """Raises for a field that is no number, or one that does not fit; NaN never does."""
    value = getattr(config, name)
    if not _is_number(value) or not fits(float(value)):
        raise ValueError(f"{name} must be {wanted}, got {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_count(config: Any, name: str) -> None:
    value = getattr(config, name)
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be an int of at least 1, got {value!r}")


def _check_kind(config: Any, name: str, kinds: tuple[type, ...], wanted: str) -> None:
    value = getattr(config, name)
    if not isinstance(value, kinds):
        raise ValueError(f"{name} must be {wanted}, got {value!r}")


def _check_policy(config: Any) -> None:
    named = isinstance(config.policy, (str, Mapping))
    if not named and not hasattr(config.policy, "scores"):
        raise ValueError(
            f"policy must be a name, a dict with type, or a policy, got {config.policy!r}"
        )


@dataclass(frozen=True)
class _BlocksConfig:
    """What all block methods have."""

    budget: float = 0.5
    block_size: int | tuple[int, int] | str = 128
    policy: str | dict = "reinforce"
    _step: ClassVar[int] = 32  # 'auto' takes multiples of it

    def __post_init__(self) -> None:
        _check(self, "budget", "a share from 0 to 1", lambda share: 0.0 <= share <= 1.0)
        _check_policy(self)
        if self.block_size != "auto":
            size = self.block_size
            sides = size if isinstance(size, (list, tuple)) else (size, size)
            if len(sides) != 2 or any(not isinstance(s, Integral) or s < 8 for s in sides):
                raise ValueError(
                    "block_size must be an int >= 8, a pair of them or 'auto', "
                    f"got {self.block_size!r}"
                )

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of a block; not for 'auto'."""
        size = self.block_size
        return (size, size) if isinstance(size, Integral) else (size[0], size[1])

    def blocks_for(self, height: int, width: int) -> tuple[int, int]:
        """The block's height and width for an image of this size."""
        if self.block_size == "auto":
            return _best_side(height, self._step), _best_side(width, self._step)
        return self.sides


@dataclass(frozen=True)
class BlockCopyConfig(_BlocksConfig):
    """BlockCopy: blocks of a video frame that did not change are copied from the frame before.

    Args:
        budget: Share of the blocks executed, 0 to 1, over a clip, first frame included.
        block_size: Side of a block in image pixels, an int or (height, width); 'auto' chooses for
            each image size the sides near 128 that need the least padding.
        policy: Name in the registry POLICIES ('reinforce', 'frame_difference', 'random', 'all',
            'none', 'oracle'), or a dict with ``type`` and arguments.
        learning: The policy learns while it runs; False for deterministic evaluation. None: it
            learns, but a policy that is given as an object, or a dict with ``learning``, keeps its
            mode.
        half_budget: Share of the blocks executed at half resolution in each frame after the first,
            beside those of `budget`, the next best by score; the others are copied.
        max_age: Frames after which a copied block is executed again.
        scene_cut: Change of the whole image, in units of its contrast, that starts a new clip.
        refresh: Change of the blocks left to copy, in the same unit, that runs the whole frame, at
            most once in `max_age` frames, so that the budget is kept; None never does.
        max_streams: Streams remembered at once.
        clip_id: Name in the registry CLIP_IDS, or a function from an image's path to its clip and
            frame; used where the data carry no ``video_id``.
        strict: Raise where the network calls a function that has no block rule.
        replay: Repeat the recorded operators of a module instead of running its Python, once it
            has run alike for a few frames.
        motion: What copied blocks show moves along with the picture, so that it stays in its place
            where the camera moves. None: for segmentors, whose output is a map; True moves every
            dense map that is kept, features too.
        dense_fallback: On a CPU, what to do once the clock shows that the stock network is faster
            than blocks are at this budget: it is timed in three runs beside the second frame of a
            size, and blocks are tried again now and then. None warns; True lets the stock network
            take the frames, whose executed share is then 1, and says so; a path is True and a JSON
            file that keeps the times for the next run of this network on this processor with this
            PyTorch, which times the stock network again all the same. False does not look.
            ``stats["tuning_ms"]`` is what timing it took, beside the frame's ``ms``.
    """

    policy: str | dict = "reinforce"
    learning: bool | None = None
    half_budget: float = 0.0
    max_age: int = 32
    scene_cut: float = 0.75
    refresh: float | None = 0.5
    max_streams: int = 16
    clip_id: str | Callable = "auto"
    strict: bool = False
    replay: bool = True
    motion: bool | None = None
    dense_fallback: bool | str | PathLike | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "half_budget", "a share from 0 to 1", lambda share: 0.0 <= share <= 1.0)
        _check(self, "scene_cut", "a number above 0, inf for never", lambda change: change > 0)
        if self.refresh is not None:
            _check(self, "refresh", "None or a number from 0", lambda change: change >= 0)
        if self.half_budget and self.block_size != "auto" and any(s % 2 for s in self.sides):
            raise ValueError(f"block_size must be even to have a half, got {self.block_size}")
        for name in ("max_age", "max_streams"):
            _check_count(self, name)
        for name in ("strict", "replay"):
            _check_kind(self, name, (bool,), "True or False")
        for name in ("learning", "motion"):
            _check_kind(self, name, (bool, type(None)), "True, False or None")
        kinds = (bool, type(None), str, PathLike)
        _check_kind(self, "dense_fallback", kinds, "True, False, None or a path")
        if not callable(self.clip_id):
            _check_kind(self, "clip_id", (str,), "a name in CLIP_IDS or a function")


@dataclass(frozen=True)
class SegBlocksConfig(_BlocksConfig):
    """SegBlocks: blocks of an image run at full or at half resolution; a policy learns where.

    Args:
        budget: Share of the blocks at full resolution, 0 to 1, of every image: the largest number
            of blocks that does not exceed it.
        block_size: Side of a block in image pixels, an int or (height, width); 'auto' chooses for
            each image size the sides near 128 that need the least padding. A network that reduces
            the image by a factor of s wants multiples of 2 * s.
        policy: Name in the registry RESOLUTION_POLICIES ('reinforce', 'heuristic', 'random',
            'centre', 'oracle', 'all-full', 'all-half'), or a dict with ``type`` and arguments.
        strict: Raise where the network calls a function that has no block rule.
        replay: In evaluation, repeat the recorded operators of a module instead of running its
            Python, once it has run alike for a few images.
    """

    budget: float = 0.4
    policy: str | dict = "reinforce"
    strict: bool = False
    replay: bool = True
    _step: ClassVar[int] = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block_size != "auto" and any(side % 2 for side in self.sides):
            raise ValueError(f"block_size must be even to have a half, got {self.block_size}")
        for name in ("strict", "replay"):
            _check_kind(self, name, (bool,), "True or False")


def _best_side(length: int, step: int) -> int:
    """The side among multiples near 128 that pads least, the nearest to 128 among equals."""
    sides = list(range(64, 225, step))
    return min(sides, key=lambda s: (-(-length // s) * s, abs(s - 128)))


@dataclass(frozen=True)
class DynConvConfig:
    """DynConv: a gate in every residual block says at which pixels the block is computed.

    Args:
        budget: Share of the multiply-accumulates of the gated convolutions that is executed, 0 to
            1, the gates' own included; 1 runs the stock blocks.
        gate: 'conv1x1', or 'squeeze': a 3x3 convolution plus a linear layer on the map's mean.
        tile: Side in pixels of the tiles that a gate decides on; 1 decides every pixel, 8 pays on
            the clock. ``dict(layer1=8, layer4=2)``: of blocks whose path contains that; the first
            that fits counts.
        norm: Normalise a gate's logits over the batch.
        open_init: Probability with which a position is open before training.
        temperature: Of the Gumbel-Softmax: a number, or ((progress, number), ...) in steps.
        noise_until: Share of the training after which decisions are taken without noise, and the
            thresholds follow the budget.
        weight: Of the sparsity loss.
        per: The budget holds for each 'image' or for the mean of a 'batch'.
        settle: Share of the training over which the bounds of single blocks open from the budget
            to 0 and 1.
        skip: Blocks whose path contains one of these stay dense.
        gate_frozen: Gate blocks of frozen stages too: their gates learn, their weights do not.
        select: In evaluation, 'threshold' opens what lies above a calibrated logit, so that images
            execute the budget on average; 'topk' opens the best tiles, as many as the budget has
            room for in every image. Calibration says how blocks share it; without calibration all
            get the same share.
        execution: In evaluation, 'auto' times each block and runs it sparse where that pays;
            'sparse' and 'dense' always run so. ``stats["tuning_ms"]`` is what the timing took.
        timings: A JSON file that keeps what 'auto' found out, read where it exists: blocks of this
            network, size and tile, on this processor and number of threads with this PyTorch, are
            not timed again. None times them in every process.
        strict: Raise where a residual block cannot be gated, instead of leaving it dense.
    """

    budget: float = 0.5
    gate: str = "conv1x1"
    tile: int | Mapping[str, int] = 1
    norm: bool = False
    open_init: float = 0.9
    temperature: float | tuple = 0.66
    noise_until: float = 0.8
    weight: float = 10.0
    per: str = "batch"
    settle: float = 1 / 3
    skip: tuple[str, ...] = ()
    gate_frozen: bool = True
    select: str = "threshold"
    execution: str = "auto"
    timings: str | PathLike | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        _check(self, "budget", "a share above 0, at most 1", lambda share: 0.0 < share <= 1.0)
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if not _is_tile(self.tile):
            raise ValueError(
                "tile must be an int from 1 to 64, or a dict of such by parts of blocks' paths, "
                f"got {self.tile!r}"
            )
        _check(self, "open_init", "a number between 0 and 1", lambda share: 0.0 < share < 1.0)
        _check(self, "noise_until", "a share from 0 to 1", lambda share: 0.0 <= share <= 1.0)
        _check(self, "settle", "a number from 0", lambda share: share >= 0.0)
        _check(self, "weight", "a finite number from 0", lambda weight: 0.0 <= weight < inf)
        for name in ("norm", "gate_frozen", "strict"):
            _check_kind(self, name, (bool,), "True or False")
        _check_kind(self, "timings", (str, PathLike, type(None)), "None or a path")
        if self.timings is not None and self.execution != "auto":
            raise ValueError(
                f"timings={str(self.timings)!r} needs execution='auto', which times blocks, got "
                f"{self.execution!r}; leave one of them out"
            )
        _check_kind(self, "skip", (list, tuple), "a list of paths")
        if not all(isinstance(part, str) and part for part in self.skip):
            raise ValueError(f"skip must be a list of paths, got {self.skip!r}")
        if not _is_temperature(self.temperature):
            raise ValueError(
                "temperature must be a finite number above 0, or steps of them, ((0, number), "
                "(progress, number), ...), whose progress increases up to 1 at most, got "
                f"{self.temperature!r}"
            )


_CHOICES = {
    "gate": ("conv1x1", "squeeze"),
    "per": ("batch", "image"),
    "select": ("threshold", "topk"),
    "execution": ("auto", "sparse", "dense"),
}


def _is_tile(value: Any) -> bool:
    """Whether it is the side of a tile, or sides by parts of paths."""
    if isinstance(value, Mapping):
        return bool(value) and all(
            part and isinstance(part, str) and isinstance(side, Integral) and _is_tile(side)
            for part, side in value.items()
        )
    return isinstance(value, Integral) and not isinstance(value, bool) and 1 <= value <= 64


def _is_temperature(value: Any) -> bool:
    """Whether it is a number that divides logits, or steps of them from progress 0 on."""
    if _is_number(value):
        return 0.0 < value < inf
    if not isinstance(value, (list, tuple)) or not value:
        return False
    pairs = all(isinstance(step, (list, tuple)) and len(step) == 2 for step in value)
    if not pairs or not all(_is_number(number) for step in value for number in step):
        return False
    starts = [float(start) for start, _ in value]
    rises = starts[0] == 0.0 and all(a < b for a, b in zip(starts, starts[1:]))
    return rises and starts[-1] <= 1.0 and all(0.0 < number < inf for _, number in value)
