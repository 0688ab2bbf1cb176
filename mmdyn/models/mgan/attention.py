"""Where in a proposal the pedestrian is visible: predicted, and as a target from boxes."""

from __future__ import annotations

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdyn.registry import MODELS


@MODELS.register_module()
class MGANAttention(BaseModule):
    """A mask over each proposal's features, and the features times its sigmoid.

    It is the features that came in that are multiplied, not those that the mask is made of.

    Args:
        in_channels (int): Of the features. Default 512.
        num_convs (int): 3x3 convolutions with ReLU before the mask. Default 2.
        conv_channels (int): Of them. Default 512.
        init_cfg (dict | list | None): See ``BaseModule``. Default: He's, and a mask near 0.5.
    """

    def __init__(
        self,
        in_channels: int = 512,
        num_convs: int = 2,
        conv_channels: int = 512,
        init_cfg: dict | list | None = None,
    ) -> None:
        default = [
            dict(type="Kaiming", layer="Conv2d", nonlinearity="relu"),
            dict(type="Normal", std=0.001, override=dict(name="conv_logits")),
        ]
        super().__init__(init_cfg or default)
        widths = [in_channels, *[conv_channels] * num_convs]
        self.convs = nn.ModuleList(
            ConvModule(a, b, 3, padding=1) for a, b in zip(widths[:-1], widths[1:])
        )
        self.conv_logits = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Attended features (R, C, h, w) and the mask's logits (R, 1, h, w)."""
        x = features
        for conv in self.convs:
            x = conv(x)
        logits = self.conv_logits(x)
        return features * logits.sigmoid().to(features.dtype), logits


def visible_share(proposals: Tensor, visible: Tensor, size: tuple[int, int]) -> Tensor:
    """How much of each cell of each proposal the visible box covers.

    Args:
        proposals: (P, 4) x1, y1, x2, y2.
        visible: (P, 4) likewise, of the person that each proposal is for.
        size: (h, w) cells of a proposal.

    Returns:
        (P, h, w) float32, 0 to 1; 0 for proposals without area.
    """
    proposals, visible = proposals.float(), visible.float()
    rows, columns = (
        _covered(
            proposals[:, k], proposals[:, k + 2], visible[:, k], visible[:, k + 2], size[1 - k]
        )
        for k in (1, 0)
    )
    return rows[:, :, None] * columns[:, None, :]


def _covered(low: Tensor, high: Tensor, start: Tensor, end: Tensor, cells: int) -> Tensor:
    """Share (P, cells) of equal parts of [low, high) inside [start, end)."""
    step = ((high - low) / cells)[:, None]
    edges = low[:, None] + step * torch.arange(cells + 1, device=low.device)
    inside = torch.minimum(edges[:, 1:], end[:, None]) - torch.maximum(
        edges[:, :-1], start[:, None]
    )
    return torch.where(step > 0, inside.clamp(min=0) / step.clamp(min=1e-6), 0.0).clamp(max=1.0)
