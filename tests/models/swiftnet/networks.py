"""SwiftNets as configs, small or of full size."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from torch import nn

ENCODERS = {
    "r18": (dict(type="mmdyn.SwiftNetResNet", depth=18), [64, 128, 256, 512], 128),
    "r50": (dict(type="mmdyn.SwiftNetResNet", depth=50), [256, 512, 1024, 2048], 128),
    "effl1": (dict(type="mmdyn.EfficientNetLite", variant="lite1"), [24, 40, 112, 320], 48),
}


def config(encoder: str, classes: int = 19, head: dict | None = None, **backbone) -> ConfigDict:
    """The model part of a config."""
    stock, in_channels, channels = ENCODERS[encoder]
    decode_head = dict(
        type="mmdyn.SwiftNetHead", in_channels=in_channels, channels=channels, num_classes=classes
    )
    return ConfigDict(
        type="EncoderDecoder",
        data_preprocessor=dict(type="SegDataPreProcessor"),
        backbone={**stock, **backbone},
        decode_head={**decode_head, **(head or {})},
        train_cfg=dict(),
        test_cfg=dict(mode="whole"),
    )


def swiftnet(encoder: str, **options) -> nn.Module:
    """A SwiftNet with random weights in evaluation mode; skips without mmseg."""
    pytest.importorskip("mmseg")
    init_default_scope("mmseg")
    torch.manual_seed(0)
    return MODELS.build(config(encoder, **options)).eval()
