"""Which cells run in a frame: the policy's choice within the budget, and what must run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mmdyn.blocks import Level
from mmdyn.conversion.config import BlockCopyConfig
from mmdyn.ops.transfer import Later, to_device
from mmdyn.policies import Observation, Policy, select_cells
from mmdyn.video import StreamState

Counts = list[tuple[int, int]]  # of each image, cells at full and at half resolution


@dataclass
class Choice:
    """What is to run.

    Attributes:
        levels: (N, GH, GW), bool, or levels where some cells run at half resolution.
        counts: How many, where that is known without asking the device.
        refresh: (N,) bool, images of which all cells should run after all; None: none.
    """

    levels: Tensor
    counts: Counts | None = None
    refresh: Tensor | None = None


def decide(
    obs: Observation, states: list[StreamState], policy: Policy, config: BlockCopyConfig,
    later: bool = False,
) -> Choice:  # fmt: skip
    """The cells to run.

    Args:
        obs: The frame.
        states: Of its images.
        policy: Ranks the cells.
        config: Limits them.
        later: Do not wait for the device: the caller looks at `Choice.refresh` later.
    """
    total = obs.grid_size[0] * obs.grid_size[1]
    whole = [s.frames == 0 for s in states]
    fixed = policy.fixed_share
    if fixed is not None or all(whole):
        runs = [new or (fixed is not None and fixed >= 1.0) for new in whole]
        cells = to_device(runs, obs.image.device)[:, None, None].expand(obs.last_grid.shape)
        return Choice(cells, [(total * run, 0) for run in runs])
    old = obs.age >= age_limits(total, obs.grid_size, config.max_age, obs.image.device)
    forced = [0 if s.due is None else s.due.read() for s in states]
    counts = [s.controller.cells(total, n) for s, n in zip(states, forced)]
    scores = policy.scores(obs)
    chosen = select_cells(scores, counts, old)
    refresh = _refreshed(obs, states, chosen, config)
    if refresh is not None and not later:
        whole = [new or due for new, due in zip(whole, refresh.tolist())]
        refresh = None
    if any(whole):
        chosen = chosen | to_device(whole, chosen.device)[:, None, None]
    counts = [total if all_of_it else n for all_of_it, n in zip(whole, counts)]
    if not config.half_budget:
        return Choice(chosen, [(n, 0) for n in counts], refresh)
    wanted = int(config.half_budget * total + 1e-6)
    executed = [min(total, n + wanted) for n in counts]
    halves = select_cells(scores, executed, chosen) * int(Level.HALF)
    levels = torch.where(chosen, int(Level.FULL), halves)
    return Choice(levels, [(n, more - n) for n, more in zip(counts, executed)], refresh)


def _refreshed(obs: Observation, states, chosen: Tensor, config: BlockCopyConfig) -> Tensor | None:
    """(N,) images whose copied cells changed so much that the whole frame runs; None: none may."""
    due = [s.frames > 0 and s.since_full >= config.max_age for s in states]
    if config.refresh is None or not any(due):
        return None
    left = torch.where(chosen, 0.0, obs.change).flatten(1).sum(1)
    left = left / (~chosen).flatten(1).sum(1).clamp(min=1)
    contrast = obs.thumbnail.flatten(1).std(1).clamp(min=1e-6)
    return to_device(due, left.device) & (left / contrast > config.refresh)


@lru_cache(maxsize=64)
def age_limits(total: int, size, max_age: int, device) -> Tensor:
    """(GH, GW) ages at which cells must run: `max_age` at most, spread over frames."""
    spread = torch.arange(total, device=device).view(size) * 7919 % max(max_age // 2, 1)
    return max_age - spread


def cells_due(age: Tensor, max_age: int) -> Later:
    """How many cells will be too old in the frame after one that left these ages (GH, GW)."""
    size = (age.shape[0], age.shape[1])
    return Later((age >= age_limits(age.numel(), size, max_age, age.device)).sum())
