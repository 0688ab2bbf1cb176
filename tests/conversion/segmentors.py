"""mmseg's FCN of 8 channels with SegBlocks, and labelled noise for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmdyn import SegBlocksConfig, convert_model
from mmdyn.conversion.hosts import zoo
from mmdyn.conversion.hosts.openmmlab import example_metas
from tests.engine.stock import segmentor

SIZE = (64, 96)
CALM = dict(block_size=32, budget=0.5)


def build(**head) -> nn.Module:
    """The stock network with random weights, in training mode; `head` changes its decode head."""
    pytest.importorskip("mmseg")
    init_default_scope("mmseg")
    config = segmentor(Path()).model
    config.decode_head.update({"dropout_ratio": 0.0, **head})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS.build(ConfigDict(config))
        zoo.randomise(model)
    return model.train()


def converted(model: nn.Module | None = None, **options) -> nn.Module:
    model = build() if model is None else model
    convert_model(model, SegBlocksConfig(**{**CALM, **options}), trial=False)
    return model


def batch(count: int = 2, size: tuple[int, int] = SIZE, seed: int = 0, flip: bool = False) -> dict:
    """Inputs and labelled samples; some pixels are ignored."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, *size, generator=generator)
    samples = []
    for image in images:
        label = (image.mean(0, keepdim=True) > 0).long()
        label[:, :4] = 255
        sample = SegDataSample(metainfo={**example_metas(size), "flip": flip})
        sample.gt_sem_seg = PixelData(data=label)
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)


def losses_of(model: nn.Module, seed: int = 0, **options) -> dict[str, torch.Tensor]:
    """A loss call, on flipped images of the model's type, with the random state set."""
    torch.manual_seed(seed)
    data = batch(flip=True, **options)
    data["inputs"] = data["inputs"].to(next(model.parameters()).dtype)
    return model(**data, mode="loss")


def total(losses: dict) -> torch.Tensor:
    return sum(value for name, value in losses.items() if "loss" in name)
