"""SegBlocks at work: each image's blocks at full or half resolution, and the policy that learns."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdyn.blocks import BlockGrid, Constants, Frame, Level, Tracker, split
from mmdyn.conversion.config import SegBlocksConfig
from mmdyn.conversion.hosts import Call, Host
from mmdyn.conversion.padding import pad_to_blocks
from mmdyn.conversion.replay import remove
from mmdyn.conversion.report import ConversionReport, inspect
from mmdyn.conversion.tracking import counted, detach
from mmdyn.ops.transfer import Later
from mmdyn.policies import ResolutionPolicy, select_cells

logger = logging.getLogger(__name__)

POLICY = "block_policy"  # the policy's name among the model's modules
Cells = tuple[int, int]


class SegBlocksRuntime:
    """What a converted model keeps besides its weights: nothing of the images before.

    Args:
        config: The user's choices.
        host: How this network takes images.
    """

    def __init__(self, config: SegBlocksConfig, host: Host) -> None:
        self.config, self.host = config, host
        self.tracker = Tracker()
        self.constants = Constants()
        self.last_frame: Frame | None = None
        self.stats: dict[str, Any] = {}
        self._policy_macs: dict[Cells, dict[str, float]] = {}  # of an image, by its size
        self._warned: set[bool] = set()  # in training, in evaluation
        self._warned_of_padding = False

    def __getstate__(self) -> dict:
        return {**self.__dict__, "last_frame": None}

    def reset(self, stream=None) -> None:
        """There is nothing to forget: images are independent of each other."""

    def forget_trial(self) -> None:
        """Forgets what a trial left."""
        self.stats = {}

    def undo(self, model: nn.Module) -> None:
        """Takes the policy, segments, hooks and stand-ins off the model."""
        del model._modules[POLICY]
        remove(model)
        detach(model)

    def inspect(self, model: nn.Module, trial: bool) -> ConversionReport:
        """What was converted, after a trial if one is asked for."""
        self._warned = {True, False}  # a trial's image is smaller than the user's
        report = inspect(model, self, trial)
        self._warned = set()
        return report

    def full_cells(self, policy: ResolutionPolicy, total: int) -> int:
        """How many of an image's cells run at full resolution."""
        share = self.config.budget if policy.fixed_share is None else policy.fixed_share
        return int(share * total + 1e-6)

    def _warn_of_no_block(self, image: Tensor, block: Cells, total: int, training: bool) -> None:
        """Says once that the budget is less than one of an image's blocks."""
        if training in self._warned:
            return
        self._warned.add(training)
        budget = self.config.budget
        logger.warning(
            "budget %g of the %d blocks of a %dx%d image is less than one: in %s all run at half "
            "resolution; choose a block_size below %dx%d, so that there are %d blocks or more.",
            budget, total, image.shape[2], image.shape[3],
            "training" if training else "evaluation", *block, math.ceil(1 / budget - 1e-6),
        )  # fmt: skip

    def _warn_of_padding(self, given: Tensor, padded: Tensor) -> None:
        """Says once that norms of a training see what was padded."""
        if self._warned_of_padding:
            return
        self._warned_of_padding = True
        logger.warning(
            "training images of %dx%d are padded to %dx%d so that blocks divide them: losses leave "
            "the padding out, batch norm does not; choose a crop size of whole blocks",
            *given.shape[2:], *padded.shape[2:],
        )  # fmt: skip

    def run(self, model: nn.Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
        """One call: decide, execute, and in training the policy's loss beside the network's."""
        if torch.is_inference_mode_enabled():  # tables and packed weights outlive it
            with torch.inference_mode(False), torch.no_grad():
                return self.run(model, forward, args, kwargs)
        started = time.perf_counter()
        call = self.host.call(args, kwargs)
        image, block = pad_to_blocks(call.image, self.config)
        cells = (image.shape[2] // block[0], image.shape[3] // block[1])
        policy: ResolutionPolicy = getattr(model, POLICY)
        count = self.full_cells(policy, cells[0] * cells[1])
        if count == 0 < self.config.budget and policy.fixed_share is None:
            self._warn_of_no_block(image, block, cells[0] * cells[1], model.training)
        wants_loss = self.host.wants_loss(call)
        learns = policy.learns and wants_loss and model.training
        run = _Execution(self, model, forward, call, image, block)
        with torch.no_grad():
            half = run.block_losses(Level.HALF) if learns or policy.needs_gain else None
            gain = half - run.block_losses(Level.FULL) if policy.needs_gain else None
        scores = self._scores(policy, image, cells, gain, learns)
        finite = None if model.training else _finite(image, scores, policy)
        if finite is not None and image.device.type == "cpu":
            _check_finite(finite, image)
        elif finite is None and image.shape != call.image.shape:
            self._warn_of_padding(call.image, image)
        drawn = policy.draw(scores) if learns else scores
        full = select_cells(drawn.detach(), count)
        decided = time.perf_counter()
        counts = [(count, cells[0] * cells[1] - count)] * image.shape[0]
        levels = torch.where(full, Level.FULL, Level.HALF).to(torch.uint8)
        grid = BlockGrid(levels, block, counts=counts)
        with ExitStack() as stack:
            seen = stack.enter_context(self.host.watch_losses(model)) if learns else []
            outputs, frame = run(grid)
        if finite is not None and image.device.type != "cpu":  # was answered meanwhile
            _check_finite(finite, image)
        if learns:
            gain = half - _pooled(seen, cells, block)
            outputs.update(policy.loss(scores, drawn, full, gain))
        if wants_loss:
            outputs["full_share"] = full.float().mean()
        self._note(frame, image, started, decided)
        self.host.attach(outputs, self.stats)
        return outputs

    def _scores(self, policy, image: Tensor, cells: Cells, gain, learns: bool) -> Tensor:
        """(N, GH, GW); one image at a time but in training: nothing depends on the batch."""
        if learns:
            return policy.scores(image, cells)
        size = (image.shape[2], image.shape[3])
        with torch.no_grad(), ExitStack() as stack:
            known = size in self._policy_macs  # hooks that count keep modules from running as one
            macs = {} if known else stack.enter_context(counted(policy))
            parts = [
                policy.scores(image[i : i + 1], cells, None if gain is None else gain[i : i + 1])
                for i in range(image.shape[0])
            ]
        if not known:
            self._policy_macs[size] = {path: n / image.shape[0] for path, n in macs.items()}
        return torch.cat(parts)

    def _note(self, frame: Frame, image: Tensor, started: float, decided: float) -> None:
        size = (image.shape[2], image.shape[3])
        for path, macs in self._policy_macs.get(size, {}).items():
            frame.macs[f"{POLICY}.{path}"] = macs * image.shape[0]
        self.last_frame = frame
        grid = frame.grid
        self.stats = dict(
            executed_share=grid.count(Level.FULL) / (grid.num_images * grid.cells),
            arithmetic_share=sum(frame.macs.values()) / max(frame.dense_macs, 1.0),
            gmacs=sum(frame.macs.values()) / 1e9,
            dense_gmacs=frame.dense_macs / 1e9,
            ms=(time.perf_counter() - started) * 1e3,
            policy_ms=(decided - started) * 1e3,
        )


class _Execution:
    """A call of the network, which may be made several times with different grids."""

    def __init__(self, runtime, model, forward, call: Call, image: Tensor, block: Cells) -> None:
        self.runtime, self.model, self.forward = runtime, model, forward
        self.call, self.image, self.block = call, image, block

    def __call__(self, grid: BlockGrid, **changes) -> tuple[Any, Frame]:
        runtime, host, call = self.runtime, self.runtime.host, self.call
        replays = not (self.model.training or torch.is_grad_enabled())
        shared = runtime.tracker, runtime.constants, runtime.config.strict
        frame = Frame(grid, None, *shared, replays=replays)
        args, kwargs = call.with_image(split(frame, self.image, grid.block_size))
        size = (self.image.shape[2], self.image.shape[3])
        before = runtime.tracker.frame, runtime.tracker.stack
        runtime.tracker.frame, runtime.tracker.stack = frame, []
        try:
            with host.padded(call, size), host.padded_labels(self.model, call, size):
                outputs = self.forward(*args, **{**kwargs, **changes})
                return host.finish(call, outputs, size), frame
        finally:
            runtime.tracker.frame, runtime.tracker.stack = before

    def block_losses(self, level: Level) -> Tensor:
        """(N, GH, GW) mean loss in each cell with all cells at a level; leaves no trace."""
        cells = (self.image.shape[2] // self.block[0], self.image.shape[3] // self.block[1])
        size = dict(num_images=self.image.shape[0], size=cells, block_size=self.block)
        grid = BlockGrid.filled(level, **size, device=self.image.device)
        with untouched(self.model), self.runtime.host.watch_losses(self.model) as seen:
            self(grid, **self.runtime.host.loss_mode(self.call))
        return _pooled(seen, cells, self.block)


def _pooled(losses: list[Tensor], cells: Cells, block: Cells) -> Tensor:
    """Per-pixel losses (N, H, W), added up and averaged in each cell; 0 in what was padded."""
    if not losses:
        raise RuntimeError(
            "expected the decode head to call its loss_decode on logits (N, C, H, W) and labels "
            "(N, H, W), and it did not; choose a policy that does not learn, such as "
            "policy='heuristic'"
        )
    loss = torch.stack(losses).sum(0)[:, None].float()
    sides = [n * side - length for n, side, length in zip(cells, block, loss.shape[2:])]
    loss = F.pad(loss, (0, max(sides[1], 0), 0, max(sides[0], 0)))
    return F.adaptive_avg_pool2d(loss, cells)[:, 0]


def _finite(image: Tensor, scores: Tensor, policy: ResolutionPolicy) -> Later:
    """Whether all is a number; a pixel that is none makes its cell's score none if it is read."""
    return Later(torch.isfinite(scores if policy.reads_pixels else image).all())


def _check_finite(finite: Later, image: Tensor) -> None:
    """Fused layers make numbers of pixels that are none, and what they say would look right."""
    if finite.read():
        return
    if not bool(torch.isfinite(image).all()):
        raise ValueError(
            "expected an image of finite numbers, and it holds NaN or infinite pixels; leave it "
            "out, or look at what makes it"
        )


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """While it lasts, a pass in training mode changes no buffer and no random state for good."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    gpus = {b.device.index for b in model.parameters() if b.device.type == "cuda"}
    try:
        with torch.random.fork_rng(devices=list(gpus)):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                if not torch.equal(buffer, value):  # writing tells who packed it to do so again
                    buffer.copy_(value)
