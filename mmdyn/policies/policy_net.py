"""The network behind the learned policy: thumbnails in, one logit per cell out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from mmdyn.ops.library import is_plain, undisturbed
from mmdyn.ops.policy import is_compiled, policy_gradient, policy_logits

from .base import relative_change
from .observation import Observation
from .painting import TASK_CHANNELS, task_map

logger = logging.getLogger(__name__)

_THUMBNAIL_CHANNELS = 9 + TASK_CHANNELS
_CELL_CHANNELS = 3
_SAMPLES = 8  # a side of a cell in the picture; finer thumbnails are reduced to it
_MOST_PIXELS = 1 << 14  # of a picture; more are faster on several threads, by PyTorch's operators
_REACH = 10.0  # the learned part of a logit stays within +-_REACH


class Features(NamedTuple):
    """An observation as the network reads it.

    Args:
        picture: (N, 12, h, w) this frame, the remembered one, their difference, the task map.
        cells: (N, 3, GH, GW) log change, log age, executed in the frame before.
        prior: (N, GH, GW) log of the frame difference policy's score.
    """

    picture: Tensor
    cells: Tensor
    prior: Tensor

    @classmethod
    def of(cls, obs: Observation, age_weight: float) -> Features:
        """Reads an observation; all float32, in units of each frame's own contrast."""
        now, before = (
            torch.nan_to_num(x.float(), nan=0.0, posinf=0.0, neginf=0.0)
            for x in (obs.thumbnail, obs.memory_thumbnail)
        )
        if now.shape[1] != 3:
            # Grey or multispectral images are looked at as grey ones.
            now, before = (x.mean(1, keepdim=True).expand(-1, 3, -1, -1) for x in (now, before))
        flat = now.flatten(1)
        centre = flat.mean(1)[:, None, None, None]
        contrast = flat.std(1).nan_to_num_(1.0).clamp_(min=1e-6)[:, None, None, None]
        difference = (now - before).abs_()
        step = now.shape[-1] // obs.grid_size[1] // _SAMPLES
        if step > 1:
            # The maximum: a small object that moved must not drown in its surroundings.
            difference = F.max_pool2d(difference, step, ceil_mode=True)
            now, before = (F.avg_pool2d(x, step, ceil_mode=True) for x in (now, before))
        difference = difference / contrast
        now, before = (now - centre) / contrast, (before - centre) / contrast
        size = tuple(now.shape[-2:])
        tasks = torch.stack([task_map(task, size, device=now.device) for task in obs.task])
        picture = torch.cat([now, before, difference, tasks.nan_to_num_(0.0)], dim=1)
        prior = torch.log(relative_change(obs, age_weight) + 1e-6)
        age = torch.log2(obs.age.float().clamp(1.0, 256.0)) / 4.0
        cells = torch.stack([prior.clamp(min=-10.0) / 4.0 + 0.5, age, obs.last_grid.float()], dim=1)
        return cls(picture, cells, prior)

    def take(self, images: list[int]) -> Features:
        """The features of some images of the batch."""
        return Features(*(part[images] for part in self))


class PolicyNet(nn.Module):
    """Logits (N, GH, GW): a learned gain times the prior plus a learned correction.

    The correction starts at zero, so that an untrained network ranks cells exactly like the frame
    difference policy. Three small convolutions read the picture, at 1/8 of the image or coarser
    (at most 21 MACs per image pixel at width 16), their average and maximum in each cell join the
    cell maps, and a 3x3 convolution lets a cell see its neighbours. Any size of picture and grid
    fits.
    GroupNorm: no statistics are shared between the images of a batch or between frames.

    On a CPU it runs as one compiled operator where nothing wants the modules (autograd, hooks) and
    the picture is small.

    Args:
        width: Channels of the first convolution. Default 16.
        picture: Channels of the picture.
        cells: Maps of cells.
    """

    def __init__(
        self, width: int = 16, picture: int = _THUMBNAIL_CHANNELS, cells: int = _CELL_CHANNELS
    ) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise ValueError(f"width must be a positive multiple of 4, got {width}.")
        deep = 2 * width
        self.look = nn.Sequential(
            *_convolution(picture, width, stride=2),
            *_convolution(width, deep, stride=2),
            *_convolution(deep, deep, stride=1),
        )
        self.mix = nn.Sequential(
            nn.Conv2d(2 * deep + cells, deep, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(deep, deep, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.correct = nn.Conv2d(deep, 1, 1)
        nn.init.zeros_(self.correct.weight)
        nn.init.zeros_(self.correct.bias)
        self.prior_gain = nn.Parameter(torch.ones(()))

    def forward(self, picture: Tensor, cells: Tensor, prior: Tensor) -> Tensor:
        """See ``Features`` for the arguments; returns (N, GH, GW)."""
        if not torch.is_grad_enabled() and self._is_compiled(picture):
            return policy_logits(picture, cells, prior, list(self.parameters()))
        seen = self.look(picture)
        grid = cells.shape[-2:]
        pooled = [F.adaptive_avg_pool2d(seen, grid), F.adaptive_max_pool2d(seen, grid), cells]
        correction = self.correct(self.mix(torch.cat(pooled, dim=1)))[:, 0]
        return self.prior_gain * prior + _REACH * torch.tanh(correction / _REACH)

    def pull_back(self, features: Features) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The logits (N, GH, GW), and what maps their gradient to that of the weights.

        That is one vector of all parameters' gradients, in order; neither has a graph.
        """
        if self._is_compiled(features.picture):
            weights = list(self.parameters())
            logits = policy_logits(*features, weights)
            return logits, lambda gradient: policy_gradient(*features, weights, gradient)
        with torch.enable_grad():
            named = {k: p.detach().requires_grad_() for k, p in self.named_parameters()}
            logits = functional_call(self, named, tuple(features))

        def gradient_of_weights(gradient: Tensor) -> Tensor:
            found = torch.autograd.grad(logits, list(named.values()), gradient)
            return torch.cat([g.flatten() for g in found])

        return logits.detach(), gradient_of_weights

    def _is_compiled(self, picture: Tensor) -> bool:
        """Whether the operator may stand for the modules: nothing looks at these."""
        if picture.device.type != "cpu" or not is_plain(picture) or not _operators_are_right():
            return False
        if picture.shape[-2] * picture.shape[-1] > _MOST_PIXELS:
            return False
        weights = self.correct.weight
        if weights.device.type != "cpu" or weights.dtype != torch.float32:
            return False
        return not any(m._forward_hooks or m._forward_pre_hooks for m in self.modules())


def _convolution(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.GroupNorm(outputs // 4, outputs),
        nn.ReLU(inplace=True),
    ]


@lru_cache(maxsize=1)
def _operators_are_right() -> bool:
    """Whether the compiled network is there and gives what the modules do; tried once."""
    if not is_compiled():
        return False
    with undisturbed(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = PolicyNet(8, picture=5, cells=2)
        weights = [nn.init.normal_(p, 0.1, 0.3) for p in net.parameters()]
        features = torch.randn(2, 5, 15, 18), torch.randn(2, 2, 4, 3), torch.randn(2, 4, 3)
        gradient = torch.randn(2, 4, 3)
        mine = policy_logits(*features, weights), policy_gradient(*features, weights, gradient)
        with torch.enable_grad():
            logits = net(*features)
            grads = torch.autograd.grad(logits, weights, gradient)
        theirs = logits.detach(), torch.cat([g.flatten() for g in grads])
    if all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(mine, theirs, strict=True)):
        return True
    logger.warning("the compiled policy network is wrong here and not used")
    return False
