"""The policies that do not learn: all, none, random, frame difference, oracle."""

from __future__ import annotations

import torch
from torch import Tensor

from mmdyn.registry import POLICIES

from .base import Policy, relative_change
from .information_gain import MEAN_GAIN, information_gain
from .observation import Observation
from .sampling import seeded_uniform


@POLICIES.register_module(name="all")
class AllPolicy(Policy):
    """Executes every cell of every frame: the dense network, by way of blocks."""

    name = "all"
    fixed_share = 1.0

    def scores(self, obs: Observation) -> Tensor:
        return torch.ones_like(obs.change, dtype=torch.float32)


@POLICIES.register_module(name="none")
class NonePolicy(Policy):
    """Executes no cell after a clip's first frame: the last output again and again."""

    name = "none"
    fixed_share = 0.0

    def scores(self, obs: Observation) -> Tensor:
        return torch.zeros_like(obs.change, dtype=torch.float32)


@POLICIES.register_module(name="random")
class RandomPolicy(Policy):
    """Executes cells at random.

    The draw depends on the seed and the number of frames scored before, never on the global
    generator. All images of a batch share it.

    Args:
        seed: Default 0.
        stratified: The oldest cells first, at random among equals: every cell runs once before
            any runs twice. Default False.
    """

    name = "random"

    def __init__(self, seed: int = 0, stratified: bool = False, learning: bool = False) -> None:
        super().__init__(learning, seed=seed, stratified=stratified)
        self.seed = seed
        self.stratified = stratified
        self.frames = 0

    def scores(self, obs: Observation) -> Tensor:
        draw = seeded_uniform(obs.grid_size, self.seed, self.frames, obs.age.device)
        self.frames += 1
        return draw + obs.age.float() if self.stratified else draw.expand(obs.age.shape)


@POLICIES.register_module(name="frame_difference")
class FrameDifferencePolicy(Policy):
    """Executes the cells whose pixels differ most from those last executed there.

    Args:
        age_weight: Added per frame of age, in units of the frame's contrast: just enough that
            cells without change take turns, the oldest first. Default 1e-4.
    """

    name = "frame_difference"

    def __init__(self, age_weight: float = 1e-4, learning: bool = False) -> None:
        super().__init__(learning, age_weight=age_weight)
        self.age_weight = age_weight

    def scores(self, obs: Observation) -> Tensor:
        return relative_change(obs, self.age_weight)


@POLICIES.register_module(name="oracle")
class OraclePolicy(Policy):
    """Executes the cells whose output changes most, known from a dense run of the same frame.

    It bounds what choosing cells can reach and is of no use otherwise. Cells without gain are
    ranked by frame difference.

    Args:
        gain (dict): Options of the information gain, by kind of task. Default:
            ``{'semseg': {'pooling': 'mean'}}``.
    """

    name = "oracle"
    needs_oracle = True
    needs_task = True

    def __init__(self, gain: dict | None = None, learning: bool = False) -> None:
        super().__init__(learning, gain=gain)
        self.gain = MEAN_GAIN if gain is None else gain

    def scores(self, obs: Observation) -> Tensor:
        if obs.oracle is None:
            raise ValueError(
                "the oracle policy expected the dense outputs of this frame in obs.oracle and got "
                "None; run the network densely first, as needs_oracle = True asks."
            )
        gains = [
            information_gain(before, now, obs.grid_size, self.gain)
            for before, now in zip(obs.task, obs.oracle, strict=True)
        ]
        change = relative_change(obs, 1e-4)
        return torch.stack(gains).nan_to_num_(0.0) + 1e-6 * change / (1.0 + change)
