"""A converted network against itself, dense: same weights, same image, every kind of frame."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mmdyn.blocks import Frame, Level
from mmdyn.conversion.config import BlockCopyConfig
from mmdyn.conversion.convert import convert_model, restore_model
from mmdyn.conversion.decision import Choice
from mmdyn.conversion.dynamic import runtime_of
from mmdyn.conversion.hosts import zoo
from mmdyn.conversion.hosts.decisions import keep_proposals, same_choices
from mmdyn.conversion.hosts.errors import Outputs, tensors_of, worst_error
from mmdyn.conversion.hosts.openmmlab import host_for
from mmdyn.conversion.report import sparse_share

TOLERANCE = 1e-4  # relative, float32: executed blocks against the dense network
FRAMES_ALIKE = 5  # after which a network's modules are replayed, where they can be
COPY_TOLERANCE = 1e-6  # a frame of copied blocks against the last output
_LAST_BIT = 2.0**-23


@dataclass
class Parity:
    """What the comparison showed; errors are relative to the largest value of each output.

    Attributes:
        error_all: All blocks executed, against the dense network.
        error_none: All blocks of another image copied, against the last output.
        error_some: Half of the blocks of the same image executed, against the dense network.
        error_replay: The same after frames of other images there, modules replayed.
        sparse_mac_share: Share of the multiply-accumulates in layers that ran on blocks; without
            RoI heads, whose work is per proposal and not per pixel.
        dense_ops: 'function: reason (times)' of what ran on the dense frame.
        ms: The frame with all blocks executed.
        worst: Name of the output of each error.
        rounding: Where an error is above the tolerance, how far the stock network's own outputs
            move when pixels do by their last bit: no order of additions is nearer than that.
    """

    error_all: float
    error_none: float
    error_some: float
    error_replay: float
    sparse_mac_share: float
    dense_ops: list[str]
    ms: float
    worst: dict[str, str] = field(default_factory=dict)
    rounding: float = 0.0

    @property
    def remark(self) -> str:
        """How far the stock network's own outputs move, where that was looked at."""
        moves = f"its own outputs move by {self.rounding:.1e} when pixels do by their last bit"
        return moves if self.rounding else ""

    @property
    def faults(self) -> list[str]:
        """What is out of tolerance, in words."""
        limits = dict(
            error_all=TOLERANCE, error_none=COPY_TOLERANCE, error_some=TOLERANCE,
            error_replay=TOLERANCE,
        )  # fmt: skip
        return [
            f"{name} {getattr(self, name):.1e} at {self.worst.get(name, '?')}"
            for name, limit in limits.items()
            if not getattr(self, name) <= limit
        ]


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Backbone, neck and dense heads; RoI heads follow in the outputs, on given proposals."""
    for name, child in model.named_children():
        if name in ("data_preprocessor", "roi_head"):
            continue
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from ((f"{name}.{key}", part) for key, part in child.named_children())
        else:
            yield name, child


@contextmanager
def _watched(model: nn.Module, outputs: Outputs):
    """Collects what the model's parts return."""

    def watch(name: str) -> Callable:
        def hook(module, args, output) -> None:
            outputs.setdefault(name, []).extend(tensors_of(output, []))

        return hook

    handles = [part.register_forward_hook(watch(name)) for name, part in _parts(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Trial:
    """One network, called on images; `modes` are tried until the stock network takes one."""

    def __init__(self, model: nn.Module, size: tuple[int, int]) -> None:
        self.model, self.parts_only = model, False
        self.host = host_for(model)
        torch.manual_seed(1)
        self.args, self.kwargs = self.host.example(model, (size[0] // 2, size[1] // 2))
        self.choices: list[Tensor] = []
        if "mode" in self.kwargs:
            self.kwargs["mode"] = "tensor"
        if getattr(model, "with_rpn", True) is False:
            self._propose(size)

    def _propose(self, size: tuple[int, int]) -> None:
        """Boxes for a detector that expects them with its image."""
        from mmengine.structures import InstanceData

        corners = torch.rand(32, 2, 2).sort(1).values * torch.tensor([size[1], size[0]])
        self.args[1][0].proposals = InstanceData(bboxes=corners.flatten(1), scores=torch.ones(32))

    @torch.no_grad()
    def stock(self) -> Outputs:
        """The dense outputs; falls back to 'predict', whose end is not compared, where a detector
        has no 'tensor' mode."""
        try:
            return self.run(watch=True)
        except Exception:
            if self.kwargs.get("mode") != "tensor":
                raise
            self.kwargs["mode"], self.parts_only = "predict", True
            self.choices.clear()
            return self.run(watch=True)

    @torch.no_grad()
    def run(self, watch: bool = False, image: Tensor | None = None) -> Outputs:
        """Outputs of the call and, if asked for, of the network's parts."""
        outputs: Outputs = {}
        args = self.args if image is None else (image, *self.args[1:])
        args = deepcopy(args)
        torch.manual_seed(2)  # some networks draw numbers even when they are tested
        with same_choices(self.model, self.choices), ExitStack() as stack:
            if watch or self.parts_only:
                stack.enter_context(_watched(self.model, outputs))
            result = self.model(*args, **self.kwargs)
        if not self.parts_only:
            outputs["outputs"] = tensors_of(result, [])
        return outputs


def measure(model: nn.Module, size: tuple[int, int], block: int) -> Parity:
    """Converts a stock network in evaluation mode and compares its frames with the dense network.

    Args:
        model: As ``convert_model`` takes it; left converted.
        size: Height and width of the image, multiples of `block`.
        block: Side of a block in image pixels.

    Returns:
        The errors and what ran dense.

    Raises:
        Unsupported: If the model is of a kind that cannot be converted.
        StockFailure: If the stock network does not run on such an image.
    """
    keep_proposals(model, size)
    zoo.refuse(model)
    trial = _Trial(model, size)
    try:
        dense = trial.stock()
        if not _finite(dense):
            with zoo.calibrated(model):
                trial.stock()
            trial.choices.clear()
            dense = trial.stock()
    except Exception as error:
        raise StockFailure(f"{type(error).__name__}: {error}") from error
    finals = dense if trial.parts_only else {"outputs": dense["outputs"]}
    config = BlockCopyConfig(
        policy="all", block_size=block, scene_cut=1e9, refresh=None, dense_fallback=False
    )
    convert_model(model, config, trial=False)
    grid = (size[0] // block, size[1] // block)
    every = torch.ones((1, *grid), dtype=torch.bool)
    some = (torch.randperm(every.numel()) < (every.numel() + 1) // 2).view(1, *grid)
    other = torch.randn_like(trial.args[0])

    started = time.perf_counter()
    first = _frame(trial, every)
    ms = (time.perf_counter() - started) * 1e3
    seen = runtime_of(model).last_frame
    copied = worst_error(_frame(trial, ~every, image=other), first)
    half = worst_error(_frame(trial, some), finals)
    for _ in range(FRAMES_ALIKE):
        found = _frame(trial, some, settled=False, image=torch.randn_like(other))
        if all(runtime_of(model).last_frame.grid.complete):
            _frame(trial, every)  # the copied blocks are the first image's again
        if _finite(dense) and not _finite(found):
            half = float("inf"), "another image: not finite"
    again = worst_error(_frame(trial, some), finals)
    whole = max(worst_error(first, finals), worst_error(_frame(trial, every, watch=True), dense))
    result = Parity(
        whole[0], copied[0], half[0], again[0], sparse_share(seen), dense_places(seen), ms,
        dict(
            error_all=whole[1], error_none=copied[1], error_some=half[1], error_replay=again[1]
        ),
    )  # fmt: skip
    if result.faults:
        restore_model(model)
        result.rounding = _rounding(trial, dense)
        convert_model(model, config, trial=False)
    return result


def _rounding(trial: _Trial, dense: Outputs) -> float:
    """How far the stock network's outputs move when pixels do by their last bit."""
    image = trial.args[0]
    moved = image * (1.0 + _LAST_BIT * torch.randint_like(image, -1, 2))
    return worst_error(trial.run(watch=True, image=moved), dense)[0]


def _finite(outputs: Outputs) -> bool:
    return all(bool(torch.isfinite(t).all()) for tensors in outputs.values() for t in tensors)


class StockFailure(RuntimeError):
    """The stock network does not run on the image that the check gives it."""


def _frame(trial: _Trial, cells: Tensor, settled: bool = True, **kwargs) -> Outputs:
    """One frame whose executed cells are given; before all is `settled` it may run more."""
    runtime = runtime_of(trial.model)
    runtime._decide = lambda obs, states: Choice(cells)
    outputs = trial.run(**kwargs)
    ran = runtime.last_frame.grid.levels != Level.COPIED
    if settled and not torch.equal(ran, cells):
        raise RuntimeError("the frame ran all cells: something's memory did not hold")
    return outputs


def dense_places(frame: Frame) -> list[str]:
    """'function: reason (times)' of a frame's dense sites, the most frequent first."""
    counts = Counter(f"{site.op}: {site.reason}" for site in frame.dense_sites.values())
    return [f"{text} ({n})" if n > 1 else text for text, n in counts.most_common()]
