"""The policy that learns online, at deployment, without labels."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mmdyn.registry import POLICIES

from .advantages import advantages, reinforce_loss, reward_sums
from .base import Policy
from .information_gain import MEAN_GAIN, information_gain
from .observation import Observation, TaskOutput
from .policy_net import Features, PolicyNet
from .sampling import first_draw_entropy, free_choices, gumbel

_LOG = logging.getLogger("mmdyn")
_LEAST_NEWS = 0.05  # an update whose largest advantage is below this has nothing to teach


@dataclass
class Decision:
    """What was seen and drawn in one frame; with ``executed`` and ``reward`` once it ran."""

    features: Features
    perturbed: Tensor  # (N, GH, GW)
    executed: Tensor | None = None
    reward: Tensor | None = None


@POLICIES.register_module(name="reinforce")
class ReinforcePolicy(Policy):
    """REINFORCE on the information gain of executed cells (BlockCopy, ICCV 2021), improved.

    A frame is k draws without replacement, k given by the budget; the reward of a draw is the
    information gain of its cell: how much the output there differs from what would have been
    copied. The budget is no part of the reward: draws compete for a fixed number of places.

    *Skipped cells.* A skipped cell's output is a copy, so its gain measures 0 by construction and
    says nothing of what executing it would have brought. It is never used. The likelihood of a
    draw is relative to all cells that were left: a disappointing draw (advantage < 0) raises
    every skipped cell, a rewarding one lowers them, and as the advantages are centred the skipped
    cells move only by comparison. Cells that went unseen for long are worth more when their
    output drifted meanwhile; the network sees each cell's age and learns how much. Draws are
    on-policy (weights change only between batches of frames), so no importance weights are
    needed. Cells forced from outside and fully executed frames are no draws and are left out.

    *Baseline.* The mean reward of the frame's other draws, shrunk towards a running mean by the
    weight of ``prior_draws`` draws; both are independent of the draw, so the gradient stays
    unbiased, and one draw alone still has a baseline. Advantages are divided by the running
    standard deviation and clipped.

    With ``learning=False`` the scores are the logits: no noise and no state.

    Args:
        width (int): Channels of the policy network. Default 16.
        lr (float): Learning rate of the policy's own AdamW. Default 2e-3.
        weight_decay (float): Default 1e-4.
        interval (int): Frames per gradient step; no graph is built on the others. Default 2.
        temperature (float): Scale of the exploration against the logits. Default 0.6.
        entropy (float): Weight of the entropy bonus. Default 0.01.
        clip (float): Largest advantage, in standard deviations. Default 3.0.
        prior_draws (float): See above. Default 4.0.
        age_weight (float): See ``FrameDifferencePolicy``. Default 1e-4.
        gain (dict): Options of the information gain, by kind of task. Default:
            ``{'semseg': {'pooling': 'mean'}}``: where the camera moves almost every cell has some
            changed pixel, and a cell's highest KL no longer tells which cells changed most.
        seed (int): Of the first weights and of the exploration. Default 0.
        learning (bool): Default True.
    """

    name = "reinforce"
    needs_task = True

    def __init__(
        self,
        width: int = 16,
        lr: float = 2e-3,
        weight_decay: float = 1e-4,
        interval: int = 2,
        temperature: float = 0.6,
        entropy: float = 0.01,
        clip: float = 3.0,
        prior_draws: float = 4.0,
        age_weight: float = 1e-4,
        gain: dict | None = None,
        seed: int = 0,
        learning: bool = True,
    ) -> None:
        if interval < 1 or temperature <= 0.0 or age_weight < 0.0:
            raise ValueError(
                "interval must be >= 1, temperature > 0 and age_weight >= 0, got "
                f"interval={interval}, temperature={temperature}, age_weight={age_weight}."
            )
        super().__init__(
            learning, width=width, lr=lr, weight_decay=weight_decay, interval=interval,
            temperature=temperature, entropy=entropy, clip=clip, prior_draws=prior_draws,
            age_weight=age_weight, gain=gain, seed=seed,
        )  # fmt: skip
        self.interval, self.temperature, self.entropy = interval, temperature, entropy
        self.clip, self.prior_draws, self.age_weight = clip, prior_draws, age_weight
        self.lr, self.weight_decay, self.seed = lr, weight_decay, seed
        self.gain = MEAN_GAIN if gain is None else gain
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # No gradients but in _update: a host's optimizer and DDP pass the policy by.
            self.net = PolicyNet(width).requires_grad_(False)
        # Decayed count, sum and sum of squares of the rewards.
        self.register_buffer("reward_sums", torch.zeros(3))
        self._optimizer: torch.optim.Optimizer | None = None
        self._waiting: list[Decision] = []
        self._draws = 0
        self._warned = False

    def _apply(self, fn, recurse: bool = True):
        # The optimizer's moments would stay behind on the old device.
        self._optimizer, self._waiting = None, []

        # A host's half() moves the policy but does not round it: small updates need float32.
        def moved(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            return result if result.dtype == tensor.dtype else tensor.to(result.device)

        return super()._apply(moved, recurse)

    @torch.no_grad()
    def scores(self, obs: Observation) -> Tensor:
        """Logits (N, GH, GW); in learning mode divided by the temperature, plus Gumbel noise."""
        features = Features.of(obs, self.age_weight)
        if self.reward_sums.device != features.prior.device:
            self.to(features.prior.device)  # The policy follows the frames it is shown.
        with torch.autocast(features.prior.device.type, enabled=False):
            logits = self.net(*features)
        obs.log_weights = logits / self.temperature
        if not self.learning:
            return logits
        noise = gumbel(logits.shape, self.seed, self._draws, logits.device)
        self._draws += 1
        perturbed = obs.log_weights + noise
        obs.decision = Decision(features, perturbed)
        return perturbed

    @torch.no_grad()
    def learn(
        self, obs: Observation, executed: Tensor, outputs: list[TaskOutput]
    ) -> dict[str, float]:
        """Books the frame's gains; every ``interval`` frames updates the policy network.

        Returns the mean reward, loss, entropy and gradient norm of an update, else {}.
        """
        decision = obs.decision
        usable = [i for i, task in enumerate(obs.task) if task is not None]
        if not self.learning or not isinstance(decision, Decision) or not usable:
            return {}
        obs.decision = None
        gains = [
            information_gain(obs.task[i], outputs[i], obs.grid_size, self.gain) for i in usable
        ]
        self._waiting.append(
            Decision(
                decision.features.take(usable),
                decision.perturbed[usable],
                executed[usable],
                torch.log1p(torch.stack(gains)),
            )
        )
        if len(self._waiting) < self.interval:
            return {}
        waiting, self._waiting = self._waiting, []
        return self._update(waiting)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _update(self, waiting: list[Decision]) -> dict[str, float]:
        sums = self._decayed_sums(waiting)
        batches = _by_shape(waiting)
        gained = [self._advantages(batch, sums) for batch in batches]
        with torch.autocast(sums.device.type, enabled=False):
            pulled = [self.net.pull_back(batch.features) for batch in batches]
            logits = [found.requires_grad_() for found, _ in pulled]
            loss, entropy, gradients = self._loss(logits, batches, gained)
            gradient = sum(back(g) for (_, back), g in zip(pulled, gradients, strict=True))
        norm = gradient.norm()
        news = torch.stack([advantage.abs().amax() for advantage in gained]).amax()
        mean = sums[1] / sums[0].clamp(min=1.0)
        # The only wait for the device in all of learning.
        report = torch.stack([loss, entropy, norm, mean, news]).tolist()
        if not all(map(math.isfinite, report)):
            if not self._warned:
                _LOG.warning("a policy update was not finite and is skipped: %s", report)
                self._warned = True
            return {}
        self.reward_sums.copy_(sums)
        # Without news only the entropy would speak, and AdamW would make it loud.
        if report[4] > _LEAST_NEWS:
            self._step(gradient * min(1.0, 1.0 / max(report[2], 1e-12)))
        names = ("loss", "entropy", "gradient_norm", "reward")
        return dict(zip(names, report[:4], strict=True))

    @torch.enable_grad()
    def _loss(
        self, logits: list[Tensor], batches: list[Decision], gained: list[Tensor]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The loss and the entropy of the frames, and the gradient of their logits."""
        losses, entropies = [], []
        for batch, advantage, found in zip(batches, gained, logits, strict=True):
            log_weights = found.flatten(1) / self.temperature
            drawn = batch.perturbed.flatten(1), batch.executed.flatten(1)
            losses.append(reinforce_loss(log_weights, *drawn, advantage))
            entropies.append(first_draw_entropy(log_weights))
        loss, entropy = torch.cat(losses).mean(), torch.cat(entropies).mean()
        gradients = torch.autograd.grad(loss - self.entropy * entropy, logits)
        return loss.detach(), entropy.detach(), gradients

    def _step(self, gradient: Tensor) -> None:
        """One step of AdamW, on all parameters as one vector: many small steps take longer."""
        parameters = list(self.net.parameters())
        now = torch.cat([p.flatten() for p in parameters])
        if self._optimizer is None:
            self._optimizer = torch.optim.AdamW(
                [now.clone().requires_grad_()], lr=self.lr, betas=(0.9, 0.99),
                weight_decay=self.weight_decay,
            )  # fmt: skip
        (vector,) = self._optimizer.param_groups[0]["params"]
        vector.copy_(now)
        vector.grad = gradient
        self._optimizer.step()
        parts = vector.detach().split([p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.copy_(part.view_as(parameter))

    def _decayed_sums(self, waiting: list[Decision]) -> Tensor:
        """``reward_sums`` with these frames' draws added."""
        sums = self.reward_sums * 0.98
        for batch in waiting:
            chosen = free_choices(batch.perturbed.flatten(1), batch.executed.flatten(1))
            sums = sums + reward_sums(batch.reward.flatten(1), chosen)
        return sums

    def _advantages(self, batch: Decision, sums: Tensor) -> Tensor:
        """(N, M) how much better each draw was than expected, in standard deviations."""
        chosen = free_choices(batch.perturbed.flatten(1), batch.executed.flatten(1))
        return advantages(batch.reward.flatten(1), chosen, sums, self.prior_draws, self.clip)


def _by_shape(waiting: list[Decision]) -> list[Decision]:
    """Joins frames of equal sizes into batches, as fresh tensors that autograd may keep."""
    groups: dict[tuple, list[Decision]] = {}
    for one in waiting:
        shape = (one.features.picture.shape[1:], one.perturbed.shape[1:])
        groups.setdefault(shape, []).append(one)
    return [
        Decision(
            Features(
                *(torch.cat(parts) for parts in zip(*(d.features for d in group), strict=True))
            ),
            torch.cat([d.perturbed for d in group]),
            torch.cat([d.executed for d in group]),
            torch.cat([d.reward for d in group]),
        )
        for group in groups.values()
    ]
