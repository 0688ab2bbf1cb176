"""DynConv at work: what all gates of a model share in a call, and what they cost over many."""

from __future__ import annotations

import logging
import statistics
from collections import defaultdict

import torch
from mmengine.logging import MessageHub
from torch import Tensor, nn

from mmdyn.blocks import Constants
from mmdyn.conversion.choice import ChoiceTable
from mmdyn.conversion.config import DynConvConfig
from mmdyn.conversion.dynamic import runtime_of
from mmdyn.conversion.folding import unfold_norms
from mmdyn.conversion.gated import GATE, GatedMixin, ungate
from mmdyn.conversion.gating_report import GatingReport
from mmdyn.gating import (
    Cost,
    Gate,
    Selection,
    binary_gumbel,
    find_threshold,
    sparsity_loss,
    stepped,
)

logger = logging.getLogger(__name__)

_FOLLOW = 0.1  # of the distance from the budget, in logits, that thresholds follow a batch


class DynConvRuntime:
    """Everything that a converted model keeps besides its weights.

    Args:
        config: The user's choices.

    Attributes:
        progress: Share of the training done; None asks mmengine's runner.
        losses: Of the last call in training mode, for a loop that has no loss dict.
        masks: Of the last call by block path, with `keep_masks`.
        selection: Opens tiles in evaluation in place of the thresholds, if it is there.
        excess: How much more tests execute than training; it aims so much lower (`DynConvHook`).
        density: Of the last calls in training mode, averaged.
        running: Whether a call in evaluation is in progress.
    """

    def __init__(self, config: DynConvConfig) -> None:
        self.config = config
        self.constants = Constants()
        self.choices = ChoiceTable(config.timings)
        self.report: GatingReport | None = None
        self.progress: float | None = None
        self.losses: dict[str, Tensor] = {}
        self.keep_masks = False
        self.masks: dict[str, Tensor] = {}
        self.selection = Selection(config.budget) if config.select == "topk" else None
        self.excess = 0.0
        self.density: float | Tensor = config.budget
        self.running = False
        self._costs: dict[str, list[Cost]] | None = None
        self._now = 0.0
        self._idle_told = False
        self.reset()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "losses": {}, "masks": {}, "_costs": None}

    @property
    def all_open(self) -> bool:
        """Whether the blocks run as in the stock network."""
        return self.config.budget >= 1.0

    @property
    def target(self) -> float:
        """The density that training aims at."""
        return min(max(self.config.budget - self.excess, self.config.budget / 2), 1.0)

    def reset(self, stream=None) -> None:
        """Forgets the statistics of evaluation; there is no other memory."""
        self.choices.tuning_ms = 0.0
        self._wanted: dict[str, float] = defaultdict(float)
        self._ran: dict[str, float] = defaultdict(float)
        self._total: dict[str, float] = defaultdict(float)

    def undo(self, model: nn.Module) -> None:
        """Takes gates and hooks off the model's modules."""
        ungate(model)
        unfold_norms(model)

    def inspect(self, model: nn.Module, trial: bool) -> GatingReport:
        """What was gated and what was not, and why."""
        assert self.report is not None
        return self.report

    def begin(self) -> None:
        """Starts a call in training mode."""
        self._now = self._progress()
        self._costs = {}
        self.losses = {}

    def _progress(self) -> float:
        if self.progress is not None:
            return self.progress
        hub = MessageHub.get_current_instance()
        done, total = (hub.runtime_info.get(name) for name in ("iter", "max_iters"))
        return min(done / total, 1.0) if done is not None and total else 0.0

    def decide(self, gate: Gate, logits: Tensor) -> Tensor:
        """0 or 1 a tile in training, of the logits' type, differentiable."""
        noise = self._now < self.config.noise_until
        logits = logits - gate.threshold  # not 0 where training starts from calibrated gates
        return binary_gumbel(logits, stepped(self.config.temperature, self._now), noise)

    def record(self, path: str, executed: Tensor, gate: float, total: float, mask: Tensor) -> None:
        """Notes what a block cost in a call on the whole map."""
        if self.keep_masks:
            self.masks[path] = mask.detach()
        if self._costs is not None:
            self._costs.setdefault(path, []).append(Cost(executed, gate, total))
        else:
            self.count(path, executed.detach(), gate, total, dense=True)

    def abandon(self) -> None:
        """Ends a call in training mode that failed: it says nothing of the gates."""
        self._costs = None

    def finish(self, model: nn.Module) -> dict[str, Tensor]:
        """Ends a call in training mode; the sparsity loss and the density of its gates."""
        costs, self._costs = self._costs or {}, None
        if self.all_open:
            unused = torch.stack([p.sum() for g in gates_of(model) for p in g.parameters()]).sum()
            self.losses = {"loss_sparsity": 0.0 * unused, "density": torch.ones_like(unused)}
            return self.losses
        self._tell_idle(model, costs)
        config = self.config
        found = {path: _joined(calls) for path, calls in costs.items()}
        if config.per == "image":
            _check_images(found)
        joined = [cost for cost in found.values() if len(cost.executed)]  # RoIs may be none
        if not joined:
            return {}
        loss, density = sparsity_loss(joined, self.target, self._now, config.settle, config.per)
        if self._now >= config.noise_until and torch.is_grad_enabled():
            self._follow(model, density)
        self.losses = {"loss_sparsity": config.weight * loss, "density": density}
        return self.losses

    def _tell_idle(self, model: nn.Module, costs: dict) -> None:
        """Warns once of gates that a call in training mode left out: nothing teaches them."""
        if self._idle_told:
            return
        idle = [state.path for state in states_of(model) if state.path not in costs]
        if not idle:
            return
        self._idle_told = True
        logger.warning(
            "the gates of %s did not run in a training call: if the network never calls these "
            "blocks, leave them out with skip", ", ".join(idle),
        )  # fmt: skip

    @torch.no_grad()
    def _follow(self, model: nn.Module, density: Tensor) -> None:
        """Moves the thresholds towards the budget, on all processes alike."""
        mean = density.clone()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(mean)
            mean /= torch.distributed.get_world_size()
        # A step of no numbers, which a loss scaler skips, must not close all gates for good.
        mean = torch.where(mean.isfinite(), mean, self.target)
        self.density = self.density + _FOLLOW * (mean - self.density)  # no wait for the device
        step = _FOLLOW * (mean - self.target) / self.target
        for gate in gates_of(model):
            gate.threshold += step

    def count(self, path: str, wanted: Tensor, gate: float, total: float, dense: bool) -> None:
        """Adds a block's call in evaluation to the statistics."""
        images = wanted.shape[0]
        executed = float(wanted.sum())
        self._wanted[path] += executed + images * gate
        self._ran[path] += images * (total + gate) if dense else executed + images * gate
        self._total[path] += images * total

    @property
    def totals(self) -> tuple[float, float, float]:
        """Multiply-accumulates since the last reset: wanted by the masks, run, of all blocks."""
        return tuple(sum(x.values()) for x in (self._wanted, self._ran, self._total))  # type: ignore

    @property
    def stats(self) -> dict:
        """Since the last reset: shares of the gated convolutions' arithmetic.

        ``executed_share`` is what the masks ask for, gates included, ``run_share`` what was
        multiplied, where some blocks ran dense because that is faster; ``blocks`` the former of
        each block. ``tuning_ms`` is what timing the blocks took, 0 where none was timed.
        """
        wanted, ran, total = self.totals
        if not total:
            return {}
        return dict(
            executed_share=wanted / total,
            run_share=ran / total,
            gmacs=wanted / 1e9,
            dense_gmacs=total / 1e9,
            blocks={path: self._wanted[path] / self._total[path] for path in self._total},
            tuning_ms=self.choices.tuning_ms,
        )


def _joined(calls: list[Cost]) -> Cost:
    """One cost of a block's calls on several batches, whose maps may differ in size."""
    if len(calls) == 1:
        return calls[0]
    executed = torch.cat([c.executed + c.gate for c in calls])
    total = sum(len(c.executed) * c.total for c in calls) / max(len(executed), 1)
    return Cost(executed, 0.0, total or calls[0].total)


def _check_images(costs: dict[str, Cost]) -> None:
    """A budget for each image needs blocks that see images, not the RoIs of some."""
    counts = {path: len(cost.executed) for path, cost in costs.items()}
    most = statistics.mode(counts.values()) if counts else 0
    other = [f"{path} ({count})" for path, count in counts.items() if count != most]
    if other:
        raise ValueError(
            f"per='image' needs blocks that see the same {most} images, got {', '.join(other)}; "
            "set per='batch' or leave these out with skip"
        )


def gates_of(model: nn.Module) -> list[Gate]:
    """The gates of a converted model, in order."""
    return [m._modules[GATE] for m in model.modules() if isinstance(m, GatedMixin)]


def states_of(model: nn.Module) -> list:
    """What its blocks keep, in order."""
    return [runtime_of(m) for m in model.modules() if isinstance(m, GatedMixin)]


@torch.no_grad()
def calibrate(model: nn.Module, run, tolerance: float = 0.002) -> tuple[float, float]:
    """Sets the threshold of all gates so that the executed share meets the budget.

    Args:
        model: A model converted to DynConv.
        run: Runs the model on the images to calibrate with; called once for each try.
        tolerance: Relative distance from the budget that is close enough.

    Returns:
        The threshold, and the share executed with it.
    """
    runtime, gates = runtime_of(model), gates_of(model)
    if runtime.all_open:
        return 0.0, 1.0
    training = model.training
    model.eval()
    runtime.constants.forget()  # averaged weights come by ways that nothing notices

    def share_at(threshold: float) -> float:
        for gate in gates:
            gate.threshold.fill_(threshold)
        runtime.reset()
        run()
        if not runtime.stats:
            raise ValueError(
                "calibrate's run did not run the model's gated blocks; let it call the model on "
                "images"
            )
        return runtime.stats["executed_share"]

    kept = [gate.threshold.clone() for gate in gates]
    budget, selection = runtime.config.budget, runtime.selection
    runtime.selection = None
    try:
        found, share = find_threshold(share_at, budget, float(kept[0]), tolerance)
        kept = [torch.full_like(threshold, found) for threshold in kept]
        if selection is not None:
            mean, blocks = share_at(found), runtime.stats["blocks"]
            for state, gate in zip(states_of(model), gates):
                gate.part.fill_(blocks.get(state.path, mean) / mean)
    finally:
        runtime.selection = selection
        for gate, threshold in zip(gates, kept):
            gate.threshold.copy_(threshold)
        runtime.reset()
        model.train(training)
    if abs(share - budget) > 0.01 * budget:
        logger.warning(
            "the thresholds meet the budget of %.3f with %.3f only: the gates know too few levels "
            "on these images", budget, share,
        )  # fmt: skip
    return found, share
