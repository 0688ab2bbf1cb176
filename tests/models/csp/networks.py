"""CSP of few channels, as configs/csp has it, for tests."""

from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from mmdyn.engine.inference import read_config

BASE = Path(__file__).parents[3] / "configs" / "_base_" / "models" / "csp_r50.py"


def tiny_csp(depth: int = 18, **head) -> torch.nn.Module:
    """On a ResNet of 8 channels; `head` are arguments of CSPHead."""
    init_default_scope("mmdet")
    cfg = read_config(BASE).model
    wide = 1 if depth < 50 else 4
    cfg.data_preprocessor.update(pad_size_divisor=1)
    cfg.backbone.update(depth=depth, base_channels=8, stem_channels=8, init_cfg=None)
    cfg.neck.update(in_channels=(16 * wide, 32 * wide, 64 * wide), out_channels=8)
    cfg.bbox_head.update(
        in_channels=24, feat_channels=16, norm_cfg=dict(type="GN", num_groups=4), **head
    )
    cfg.test_cfg.update(score_thr=0.01)
    return MODELS.build(cfg)
