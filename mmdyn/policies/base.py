"""The base of all policies: who decides, per frame, which cells are executed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .observation import Observation, TaskOutput


class Policy(nn.Module):
    """Ranks the cells of a frame; how many of them run is the budget's affair, not the policy's.

    A policy keeps nothing of a stream: all it may use is in the observation, so that one policy
    serves any number of streams, in any order and in batches.

    Args:
        learning: False: deterministic evaluation, nothing changes. True: ``scores`` may explore
            and ``learn`` may update the policy. Independent of ``train()`` and ``eval()``.

    Attributes:
        name: The name in the registry ``POLICIES``.
        needs_oracle: ``scores`` reads ``Observation.oracle``.
        needs_task: ``scores`` or ``learn`` reads ``Observation.task``.
        fixed_share: Share of the cells executed in every frame, past the budget; None: budgeted.
        config: The constructor's arguments, plain values, as stored by ``save_policy``.
    """

    name = ""
    needs_oracle = False
    needs_task = False
    fixed_share: float | None = None

    def __init__(self, learning: bool = False, **config) -> None:
        super().__init__()
        self.learning = learning
        self.config = config

    def scores(self, obs: Observation) -> Tensor:
        """How much each cell is worth executing: (N, GH, GW) float32, larger is better."""
        raise NotImplementedError(f"{type(self).__name__} must define scores(obs).")

    def learn(
        self, obs: Observation, executed: Tensor, outputs: list[TaskOutput]
    ) -> dict[str, float]:
        """Learns from a frame that ran; returns numbers worth logging, {} if there are none.

        Args:
            obs: The observation that ``scores`` was given.
            executed: (N, GH, GW) bool, the cells that ran.
            outputs: What the network says now, one per image.
        """
        return {}


def relative_change(obs: Observation, age_weight: float) -> Tensor:
    """Change per cell in units of the frame's contrast, plus ``age_weight`` per frame of age.

    The contrast is the standard deviation of the thumbnail, so that the result does not depend
    on the network's normalisation (0..255 or standardised). Cells without any change are ranked
    by age, the oldest first. Returns (N, GH, GW) float32 >= 0; a non-finite change (broken
    pixels) counts as none.
    """
    contrast = obs.thumbnail.float().flatten(1).std(dim=1).nan_to_num_(1.0).clamp_(min=1e-6)
    change = torch.nan_to_num(obs.change.float(), nan=0.0, posinf=0.0, neginf=0.0)
    return change / contrast[:, None, None] + age_weight * obs.age
