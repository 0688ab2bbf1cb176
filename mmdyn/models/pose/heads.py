"""Heatmaps of the joints: losses, and the joints they stand for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmengine.structures import BaseDataElement, InstanceData
from torch import nn

from mmdyn.models.pose.codec import MSRAHeatmap
from mmdyn.registry import KEYPOINT_CODECS, MODELS

_NORMAL = [
    dict(type="Normal", layer=["Conv2d", "ConvTranspose2d"], std=0.001),
    dict(type="Constant", layer="BatchNorm2d", val=1),
]


@MODELS.register_module()
class KeypointMSELoss(nn.Module):
    """Mean squared error of heatmaps.

    Args:
        use_target_weight (bool): Multiplies by the joints' weights. Default False.
        loss_weight (float): Factor. Default 1.0.
    """

    def __init__(self, use_target_weight: bool = False, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.use_target_weight, self.loss_weight = use_target_weight, loss_weight

    def forward(
        self, output: torch.Tensor, target: torch.Tensor, target_weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Heatmaps (N, K, h, w), both, and weights (N, K) to a number; the mean is over all."""
        error = (output.float() - target) ** 2
        if self.use_target_weight:
            if target_weights is None:
                raise ValueError("use_target_weight needs target_weights (N, K), got None.")
            error = error * target_weights[:, :, None, None]
        return self.loss_weight * error.mean()


class _JointsHead(BaseModule):
    """What heads share whose ``forward`` gives one map (N, K, h, w) a stage.

    Args:
        loss: Config of the loss, or None.
        decoder: Config of the codec, or None.
        init_cfg: Of the weights.
    """

    def __init__(self, loss: dict | None, decoder: dict | None, init_cfg: dict | None) -> None:
        super().__init__(init_cfg)
        default = dict(type="mmdyn.KeypointMSELoss", use_target_weight=True)
        self.loss_module = MODELS.build(loss or default)
        self.decoder: MSRAHeatmap | None = decoder and KEYPOINT_CODECS.build(decoder)

    def loss(self, features: tuple[torch.Tensor, ...], samples: list[BaseDataElement]) -> dict:
        """``loss_kpt``, the sum over the stages, and ``acc_pose`` of the last."""
        outputs = self(features)
        device = outputs[-1].device
        target = torch.stack([s.gt_fields.heatmaps for s in samples]).to(device)
        weights = torch.cat([s.gt_instance_labels.keypoint_weights for s in samples]).to(device)
        loss = sum(self.loss_module(output, target, weights) for output in outputs)
        return dict(loss_kpt=loss, acc_pose=close_peaks(outputs[-1].detach(), target, weights))

    def predict(
        self,
        features: tuple[torch.Tensor, ...],
        samples: list[BaseDataElement],
        flipped: tuple[torch.Tensor, ...] | None = None,
        shift_heatmap: bool = False,
    ) -> list[BaseDataElement]:
        """The samples with ``pred_instances``: keypoints (1, K, 2) of the image, keypoint_scores.

        Args:
            features: Of the backbone.
            samples: With input_size, input_center, input_scale; flip_indices for `flipped`.
            flipped: Those of the mirrored images, to be averaged with.
            shift_heatmap: Move the mirrored heatmaps right by a pixel first: a heatmap of a quarter
                of the input's size mirrors around a place three quarters of a pixel off.
        """
        if self.decoder is None:
            raise ValueError("predictions need a decoder: head=dict(decoder=codec).")
        heatmaps = self(features)[-1]
        if flipped is not None:
            order = list(samples[0].flip_indices)
            mirrored = self(flipped)[-1].flip(3)[:, order]
            if shift_heatmap:
                mirrored = torch.cat([mirrored[..., :1], mirrored[..., :-1]], 3)
            heatmaps = (heatmaps + mirrored) / 2
        keypoints, scores = self.decoder.decode(heatmaps)
        for sample, joints, score in zip(samples, keypoints, scores):
            size, center, scale = (
                torch.as_tensor(sample.metainfo[k]).to(joints)
                for k in ("input_size", "input_center", "input_scale")
            )
            sample.pred_instances = InstanceData(
                keypoints=(joints / size * scale + center - 0.5 * scale)[None],
                keypoint_scores=score[None],
            )
        return samples


@MODELS.register_module()
class CPMHead(_JointsHead):
    """Losses after every stage and the joints of the last; mmpose's head without layers.

    Args:
        in_channels (int): Heatmaps of a stage.
        out_channels (int): The same number.
        num_stages (int): Stages.
        deconv_out_channels (None): Must be None: the backbone gives the heatmaps.
        final_layer (None): Must be None, for the same reason.
        loss (dict | None): Default ``dict(type='mmdyn.KeypointMSELoss', use_target_weight=True)``.
        decoder (dict | None): The codec; needed for predictions. Default None.
        init_cfg (dict | None): Default None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_stages: int,
        deconv_out_channels: None = None,
        final_layer: None = None,
        loss: dict | None = None,
        decoder: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss, decoder, init_cfg)
        if deconv_out_channels or final_layer or in_channels != out_channels:
            raise ValueError(
                "expected a backbone that gives heatmaps (deconv_out_channels and final_layer None,"
                f" in_channels = out_channels), got {deconv_out_channels}, {final_layer}, "
                f"{in_channels}, {out_channels}; mmpose's CPMHead has such layers."
            )
        self.out_channels, self.num_stages = out_channels, num_stages

    def forward(self, features: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """The stages' heatmaps, checked."""
        shapes = [tuple(x.shape[1:2]) for x in features]
        if shapes != [(self.out_channels,)] * self.num_stages:
            raise ValueError(
                f"expected {self.num_stages} maps of {self.out_channels} joints from the backbone, "
                f"got {len(features)} of {[s[0] for s in shapes]}; align the head's config with it."
            )
        return list(features)


@MODELS.register_module()
class HeatmapHead(_JointsHead):
    """Deconvolutions, each twice as fine, and a convolution: mmpose's head for plain backbones.

    `Simple Baselines for Human Pose Estimation and Tracking
    <https://arxiv.org/abs/1804.06208>`_, ECCV 2018. State dict keys are mmpose's.

    Args:
        in_channels (int): Of the backbone's last map.
        out_channels (int): Joints.
        deconv_out_channels (Sequence[int]): Channels of each. Default (256, 256, 256).
        deconv_kernel_sizes (Sequence[int]): 2 or 4, of each. Default (4, 4, 4).
        final_layer (dict): Only ``kernel_size``, odd. Default ``dict(kernel_size=1)``.
        loss (dict | None): Default ``dict(type='mmdyn.KeypointMSELoss', use_target_weight=True)``.
        decoder (dict | None): The codec; needed for predictions. Default None.
        init_cfg (dict | list | None): Default: normal weights of 0.001, batch norms at 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        deconv_out_channels: Sequence[int] = (256, 256, 256),
        deconv_kernel_sizes: Sequence[int] = (4, 4, 4),
        final_layer: dict | None = None,
        loss: dict | None = None,
        decoder: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(loss, decoder, init_cfg or _NORMAL)
        final = final_layer or dict(kernel_size=1)
        kernel = final.get("kernel_size", 1)
        fits = len(deconv_out_channels) == len(deconv_kernel_sizes)
        if not fits or not set(deconv_kernel_sizes) <= {2, 4} or set(final) - {"kernel_size"}:
            raise ValueError(
                "expected as many deconv_kernel_sizes (2 or 4) as deconv_out_channels and a "
                f"final_layer with kernel_size only, got {tuple(deconv_kernel_sizes)}, "
                f"{tuple(deconv_out_channels)} and {final}; mmpose's HeatmapHead takes more."
            )
        layers: list[nn.Module] = []
        channels = in_channels
        for width, side in zip(deconv_out_channels, deconv_kernel_sizes):
            deconv = nn.ConvTranspose2d(channels, width, side, 2, (side - 2) // 2, bias=False)
            layers += [deconv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2)

    def forward(self, features: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """The heatmaps of the backbone's last map."""
        return [self.final_layer(self.deconv_layers(features[-1]))]


def close_peaks(
    output: torch.Tensor, target: torch.Tensor, weights: torch.Tensor, share: float = 0.05
) -> torch.Tensor:
    """Share of the weighted joints whose highest pixel is near the target's.

    Near is `share` of the heatmap's width.
    """
    width = output.shape[3]
    places = [x.float().flatten(2).argmax(2) for x in (output, target)]
    across = places[0] % width - places[1] % width
    along = places[0] // width - places[1] // width
    near = (across.float() ** 2 + along.float() ** 2).sqrt() <= share * width
    counted = weights > 0
    return (near & counted).sum() / counted.sum().clamp(min=1)
