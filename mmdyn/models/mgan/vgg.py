"""VGG with chosen poolings, for detectors that need a fine map."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn.vgg import VGG, make_vgg_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdyn.registry import MODELS

STAGES = 5


@MODELS.register_module()
class PlainVGG(BaseModule):
    """VGG's convolutions; returns (map,), the last stage's, 512 channels of stride 8 by default.

    The layers have the numbers they have in torchvision's ``features``, so its checkpoints load:
    where a pooling is left out, an identity stands in its place.

    Args:
        depth (int): 11, 13, 16 or 19. Default 16.
        base_channels (int): Of the first stage; the others have 2, 4, 8 and 8 times as many.
            Default 64.
        pools (Sequence[bool]): Whether each of the five stages ends by halving the map. Default
            (True, True, True, False, False).
        with_bn (bool): Batch norm behind each convolution. Default False.
        frozen_stages (int): How many of the first stages do not learn. Default 0.
        norm_eval (bool): Batch norms keep their statistics in training. Default False.
        init_cfg (dict | list | None): See ``BaseModule``. Default He's initialization.
    """

    def __init__(
        self,
        depth: int = 16,
        base_channels: int = 64,
        pools: Sequence[bool] = (True, True, True, False, False),
        with_bn: bool = False,
        frozen_stages: int = 0,
        norm_eval: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        if depth not in VGG.arch_settings:
            raise ValueError(f"depth must be one of {sorted(VGG.arch_settings)}, got {depth}.")
        if len(pools) != STAGES or not 0 <= frozen_stages <= STAGES:
            raise ValueError(
                f"expected {STAGES} pools and frozen_stages of 0 to {STAGES}, got {tuple(pools)} "
                f"and {frozen_stages}."
            )
        super().__init__(init_cfg or [dict(type="Kaiming", layer="Conv2d", nonlinearity="relu")])
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        layers: list[nn.Module] = []
        self.ends: list[int] = []
        channels = 3
        for stage, (blocks, pool) in enumerate(zip(VGG.arch_settings[depth], pools)):
            planes = base_channels * 2 ** min(stage, 3)
            layers += make_vgg_layer(channels, planes, blocks, with_bn=with_bn)
            if not pool:
                layers[-1] = nn.Identity()
            self.ends.append(len(layers))
            channels = planes
        self.features = nn.Sequential(*layers)
        self.out_channels, self.stride = channels, 2 ** sum(pools)
        self._freeze()

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The last stage's map of images (N, 3, H, W)."""
        return (self.features(x),)

    def train(self, mode: bool = True) -> PlainVGG:
        """Sets the mode; frozen stages, and with ``norm_eval`` all batch norms, keep theirs."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def _freeze(self) -> None:
        if self.frozen_stages:
            for layer in self.features[: self.ends[self.frozen_stages - 1]]:
                layer.eval()
                layer.requires_grad_(False)
