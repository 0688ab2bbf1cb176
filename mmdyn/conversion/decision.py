"""Which cells run in a frame: the policy's choice within the budget, and what must run."""

from __future__ import annotations

import logging

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.blocks import Level
from mmdyn.conversion.config import BlockCopyConfig
from mmdyn.policies import Observation, Policy, select_cells
from mmdyn.video import StreamState

logger = logging.getLogger(__name__)

_COARSE = 4  # places of a side at which a picture's change as a whole is looked at
_LEAST_COARSE = 0.3  # of `scene_cut` that must remain there: noise does not
_MANY_CUTS = 3  # within `max_age` frames


def decide(
    obs: Observation, states: list[StreamState], policy: Policy, config: BlockCopyConfig
) -> Tensor:
    """(N, GH, GW): the cells to run, as bool or as levels where some run at half resolution."""
    total = obs.grid_size[0] * obs.grid_size[1]
    first = torch.tensor([s.frames == 0 for s in states], device=obs.image.device)
    fixed = policy.fixed_share
    if fixed is not None:
        chosen = torch.full_like(obs.last_grid, fixed >= 1.0)
        return chosen | first[:, None, None]
    if all(s.frames == 0 for s in states):
        return torch.ones_like(obs.last_grid)
    old = obs.age >= age_limits(total, obs.grid_size, config.max_age, obs.image.device)
    forced = old.flatten(1).sum(1).tolist()
    counts = [s.controller.cells(total, n) for s, n in zip(states, forced)]
    scores = policy.scores(obs)
    chosen = select_cells(scores, counts, old) | first[:, None, None]
    if config.refresh is not None:
        chosen = chosen | _refreshed(obs, states, chosen, config)[:, None, None]
    return _with_halves(chosen, scores, config.half_budget) if config.half_budget else chosen


def _refreshed(obs: Observation, states, chosen: Tensor, config: BlockCopyConfig) -> Tensor:
    """(N,) images whose copied cells changed so much that the whole frame runs."""
    left = torch.where(chosen, 0.0, obs.change).flatten(1).sum(1)
    left = left / (~chosen).flatten(1).sum(1).clamp(min=1)
    contrast = obs.thumbnail.flatten(1).std(1).clamp(min=1e-6)
    due = torch.tensor([s.since_full >= config.max_age for s in states], device=left.device)
    return due & (left / contrast > config.refresh)


def _with_halves(full: Tensor, scores: Tensor, half_budget: float) -> Tensor:
    """(N, GH, GW) levels: of the cells that are not full, the best run at half resolution."""
    total = full[0].numel()
    wanted = int(half_budget * total + 1e-6)
    taken = full.flatten(1).sum(1).tolist()
    counts = [min(total, n + wanted) for n in taken]
    executed = select_cells(scores, counts, full)
    return torch.where(full, int(Level.FULL), executed * int(Level.HALF))


def age_limits(total: int, size, max_age: int, device) -> Tensor:
    """(GH, GW) ages at which cells must run: `max_age` at most, spread over frames."""
    spread = torch.arange(total, device=device).view(size) * 7919 % max(max_age // 2, 1)
    return max_age - spread


def restart_at_cuts(
    states: list[StreamState], thumbnail: Tensor, remembered: Tensor, config: BlockCopyConfig
) -> None:
    """Restarts the streams whose picture changed as a whole; their frame runs all cells.

    Noise on a flat wall changes as much against its contrast, but not on the average over the
    sixteenth of the picture.
    """
    difference = thumbnail - remembered
    contrast = thumbnail.flatten(1).std(1).clamp(min=1e-6)
    fine = difference.abs().flatten(1).mean(1) / contrast
    coarse = F.adaptive_avg_pool2d(difference, _COARSE).abs().flatten(1).mean(1) / contrast
    cut = (fine > config.scene_cut) & (coarse > _LEAST_COARSE * config.scene_cut)
    for state, is_cut in zip(states, cut.tolist()):
        if not state.frames or not is_cut:
            continue
        state.restart()
        state.cuts.append(state.since_start)
        recent = [at for at in state.cuts if state.since_start - at < config.max_age]
        if len(recent) >= _MANY_CUTS and not state.warned_of_cuts:
            state.warned_of_cuts = True
            logger.warning(
                "the picture changed as a whole %d times within %d frames: such frames run all of "
                "their blocks and the budget is not kept; raise scene_cut (now %g) if these are "
                "no cuts", len(recent), config.max_age, config.scene_cut,
            )  # fmt: skip
