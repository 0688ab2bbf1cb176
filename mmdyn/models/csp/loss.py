"""The loss of CSP's centre map."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmdyn.registry import MODELS


@MODELS.register_module()
class CenterFocalLoss(nn.Module):
    """Focal loss of centres on logits: confident mistakes keep their gradient in any precision.

    At centres (target 1) it is ``(1 - p)^alpha * -log p``, elsewhere
    ``(1 - target)^gamma * p^alpha * -log(1 - p)``, summed and divided by the number of centres.

    Args:
        alpha (float): How little what is known already counts. Default 2.
        gamma (float): How little the neighbourhood of a centre counts as background. Default 4.
        loss_weight (float): Factor of the loss. Default 1.
    """

    def __init__(self, alpha: float = 2.0, gamma: float = 4.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.alpha, self.gamma, self.loss_weight = alpha, gamma, loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: Tensor | float = 1.0,
    ) -> Tensor:
        """The loss, a scalar.

        Args:
            pred: Logits (N, C, H, W).
            target: The same shape, 0 to 1; 1 is a centre.
            weight: Broadcasts to it; 0 where neither is to be learnt.
            avg_factor: Number of centres.
        """
        pred = pred.float()
        center = target == 1
        hit = F.logsigmoid(pred).neg() * (-pred).sigmoid() ** self.alpha
        miss = F.logsigmoid(-pred).neg() * pred.sigmoid() ** self.alpha
        loss = hit.where(center, miss * (1 - target) ** self.gamma)
        if weight is not None:
            loss = loss * weight
        return self.loss_weight * loss.sum() / avg_factor
