"""Who decides which blocks run at full resolution, learned together with the network."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.ops.pictures import patch_statistics
from mmdyn.registry import RESOLUTION_POLICIES

from .advantages import advantages, reinforce_loss, reward_sums
from .policy_net import PolicyNet
from .resolution import ResolutionPolicy
from .sampling import first_draw_entropy, free_choices

_SAMPLES = 8  # a side of a cell in the picture at least, where the block has them
_DECAY = 0.98  # of the running reward sums, an iteration
_LEAST_DETAIL = 1e-3  # in units of the image's contrast


@RESOLUTION_POLICIES.register_module(name="reinforce")
class ReinforceResolution(ResolutionPolicy):
    """REINFORCE on the per-pixel loss (SegBlocks, TPAMI 2022), improved.

    An image is k draws without replacement, k given by the budget, which therefore holds in every
    image and is no part of the reward. The reward of a draw is its block's gain: how much lower
    the loss is there than at half resolution, measured by a pass of the same image at half
    resolution only, without gradients, at a quarter of a forward pass's cost. The baseline is the
    mean gain of the image's other draws, shrunk towards a running mean; advantages are in
    standard deviations and clipped. A bonus for entropy keeps it exploring.

    Untrained it ranks blocks like the heuristic policy. In evaluation mode there is no noise.

    Args:
        width (int): Channels of the policy network. Default 16.
        temperature (float): Scale of the exploration against the logits. Default 0.6.
        entropy (float): Weight of the entropy bonus. Default 0.01.
        clip (float): Largest advantage, in standard deviations. Default 3.0.
        prior_draws (float): Weight of the running mean in the baseline. Default 4.0.
        weight (float): Of ``loss_policy`` in the total loss. Default 1.0.
    """

    name = "reinforce"
    learns = reads_pixels = True

    def __init__(
        self,
        width: int = 16,
        temperature: float = 0.6,
        entropy: float = 0.01,
        clip: float = 3.0,
        prior_draws: float = 4.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not (temperature > 0.0 and clip > 0.0 and prior_draws > 0.0):
            raise ValueError(
                "temperature, clip and prior_draws must be > 0, got "
                f"{temperature}, {clip}, {prior_draws}"
            )
        if not (math.isfinite(entropy) and math.isfinite(weight)):
            raise ValueError(f"entropy and weight must be finite, got {entropy}, {weight}")
        self.temperature, self.entropy, self.weight = temperature, entropy, weight
        self.clip, self.prior_draws = clip, prior_draws
        self.net = PolicyNet(width, picture=4, cells=3)
        # Decayed count, sum and sum of squares of the rewards.
        self.register_buffer("reward_sums", torch.zeros(3))

    def scores(self, image: Tensor, size: tuple[int, int], gain=None) -> Tensor:
        """Logits (N, GH, GW), with gradients; in float32 whatever autocast says around it."""
        with torch.autocast(image.device.type, enabled=False):
            weights = next(self.net.parameters())
            features = _features(image.detach().float(), size)
            return self.net(*(f.to(weights) for f in features)).float()

    def draw(self, logits: Tensor) -> Tensor:
        """Logits plus noise: their k largest are k draws without replacement."""
        noise = torch.rand_like(logits).clamp_(min=torch.finfo(torch.float32).tiny)
        noise = -torch.log((-torch.log(noise)).clamp_(min=1e-12))
        return logits.detach() / self.temperature + noise

    def loss(
        self, logits: Tensor, perturbed: Tensor, executed: Tensor, gain: Tensor
    ) -> dict[str, Tensor]:
        """The loss of an iteration, all arguments (N, GH, GW), and numbers worth logging.

        Args:
            logits: Of ``scores``.
            perturbed: Of ``draw``.
            executed: bool, the cells at full resolution.
            gain: Loss at half resolution less loss as it ran; read where executed.
        """
        log_weights = logits.flatten(1) / self.temperature
        perturbed, executed = perturbed.flatten(1), executed.flatten(1)
        chosen, gain = free_choices(perturbed, executed), gain.detach().float().flatten(1)
        chosen = chosen & gain.isfinite()
        gain = torch.where(chosen, gain, 0.0)
        with torch.no_grad():
            self.reward_sums.mul_(_DECAY).add_(reward_sums(gain, chosen))
            advantage = advantages(gain, chosen, self.reward_sums, self.prior_draws, self.clip)
        loss = reinforce_loss(log_weights, perturbed, executed, advantage).mean()
        entropy = first_draw_entropy(log_weights).mean()
        return dict(
            loss_policy=self.weight * (loss - self.entropy * entropy),
            policy_gain=gain.sum() / chosen.sum().clamp(min=1),
            policy_entropy=entropy.detach(),
        )


def _features(image: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """What ``PolicyNet`` reads: (N, 4, h, w) image and detail, (N, 3, GH, GW) cells, the prior."""
    n, channels, height, width = image.shape
    if channels != 3:  # grey or multispectral images are looked at as grey ones
        image = image.mean(1, keepdim=True)
    block = (height // size[0], width // size[1])
    steps = [s for s in (4, 2) if all(b % s == 0 and b // s >= _SAMPLES for b in block)]
    small, detail, moments = patch_statistics(image, steps[0] if steps else 2)
    centre, contrast = moments[:, :, None, None, None].unbind(1)
    contrast = contrast.nan_to_num(1.0).clamp(min=1e-6)
    detail = detail / contrast
    colours = ((small - centre) / contrast).expand(-1, 3, -1, -1)
    picture = torch.cat([colours, detail.sqrt()], 1)
    prior = torch.log(F.adaptive_avg_pool2d(detail, size)[:, 0] + _LEAST_DETAIL)
    y, x = (torch.linspace(-1 + 1 / c, 1 - 1 / c, c, device=image.device) for c in size)
    places = torch.stack(torch.meshgrid(y, x, indexing="ij")).expand(n, -1, -1, -1)
    cells = torch.cat([prior[:, None] / 4.0 + 0.5, places], 1)
    return picture, cells, prior
