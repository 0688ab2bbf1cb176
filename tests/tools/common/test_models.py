"""tools/common/models.py: what of a network is timed."""

from types import ModuleType, SimpleNamespace

import pytest
import torch

from mmdyn.engine.inference import build_model, read_config

NORM = dict(type="BN")
LOSS = dict(type="CrossEntropyLoss")
OCR = dict(type="OCRHead", ocr_channels=8, in_channels=32)
POINT = dict(type="PointHead", in_channels=[32], num_fcs=1, coarse_pred_each_layer=True)


def cascade(tiny: SimpleNamespace, last: dict):
    cfg = read_config(tiny.config)
    first = cfg.model.decode_head
    shared = dict(channels=8, num_classes=19, norm_cfg=NORM, loss_decode=LOSS)
    index = [3] if last["type"] == "PointHead" else 3
    cfg.model.update(type="CascadeEncoderDecoder", num_stages=2)
    cfg.model.decode_head = [first, dict(**shared, in_index=index, **last)]
    return build_model(cfg)


def test_heads_in_a_cascade_follow_each_other(tool: ModuleType, tiny: SimpleNamespace) -> None:
    model = cascade(tiny, OCR)
    core = tool.dense_core(model)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(core(image), model._forward(image))


def test_a_head_of_points_is_refused_by_name(tool: ModuleType, tiny: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="PointHead refines single points.*compare_video"):
        tool.dense_core(cascade(tiny, POINT))


def test_one_head_is_as_before(tool: ModuleType, tiny: SimpleNamespace) -> None:
    model = build_model(read_config(tiny.config))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = model.decode_head(model.extract_feat(image))
        assert torch.equal(tool.dense_core(model)(image), wanted)
