"""The converter of Pedestron's CSP: every name, strict loading, and refusals."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

pytest.importorskip("mmdet")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def converter() -> ModuleType:
    path = ROOT / "tools" / "model_converters" / "csp_pedestron.py"
    spec = importlib.util.spec_from_file_location("csp_pedestron", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """CSP as configs/csp has it, of 4 instead of 64 channels."""
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    from mmdyn.engine.inference import read_config

    cfg = read_config(ROOT / "configs" / "_base_" / "models" / "csp_r50.py").model
    init_default_scope("mmdet")
    cfg.backbone.update(init_cfg=None, base_channels=4, stem_channels=4)
    cfg.neck.update(in_channels=(32, 64, 128), out_channels=8)
    cfg.bbox_head.update(in_channels=24, feat_channels=8, norm_cfg=dict(type="GN", num_groups=2))
    return MODELS.build(cfg).eval()


def pedestron_names() -> dict[str, str]:
    """Old name to new, of all that is not backbone, written down one by one."""
    names = {f"neck.p{i + 3}_l2.weight": f"neck.norms.{i}.weight" for i in range(3)}
    for kind in ("weight", "bias"):
        names |= {f"neck.p{i + 3}.{kind}": f"neck.deconvs.{i}.{kind}" for i in range(3)}
        for old, new in (("cls", "center"), ("reg", "scale"), ("offset", "offset")):
            names[f"bbox_head.{old}_convs.0.gn.{kind}"] = f"bbox_head.towers.{new}.gn.{kind}"
            names[f"bbox_head.csp_{old}.{kind}"] = f"bbox_head.{new}.{kind}"
    for old, new in (("cls", "center"), ("reg", "scale"), ("offset", "offset")):
        names[f"bbox_head.{old}_convs.0.conv.weight"] = f"bbox_head.towers.{new}.conv.weight"
    names["bbox_head.reg_scales.0.scale"] = "bbox_head.scale_gain.scale"
    names["bbox_head.offset_scales.0.scale"] = "bbox_head.offset_gain.scale"
    return names


def old_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The model's weights under Pedestron's names, each with a value of its own."""
    new_to_old = {new: old for old, new in pedestron_names().items()}
    state = {}
    for name, value in model.state_dict().items():
        old = name if name.startswith("backbone.") else new_to_old[name]
        state[old] = torch.rand_like(value) if value.is_floating_point() else value
    return state


def test_every_weight_lands_where_it_belongs(converter, model):
    state = old_state(model)
    converted = converter.convert(dict(state_dict=state, meta=dict(epoch=72)))
    model.load_state_dict(converted, strict=True)
    for old, new in pedestron_names().items():
        assert torch.equal(converted[new], state[old]), old


@pytest.mark.parametrize("suffix", [".pth", ".pth.stu"])
def test_files_of_both_kinds(converter, model, tmp_path, monkeypatch, capsys, suffix):
    state = old_state(model)
    if suffix == ".pth":  # saved from a parallel wrapper, with an optimizer
        state = {f"module.{name}": value for name, value in state.items()}
        saved = dict(state_dict=state, optimizer=dict(state={}), meta=dict(epoch=72))
    else:
        saved = dict(state_dict=state)
    source, out = tmp_path / f"epoch_72{suffix}", tmp_path / "new" / "csp.pth"
    torch.save(saved, source)
    monkeypatch.setattr(sys, "argv", ["csp_pedestron.py", str(source), str(out)])
    converter.main()
    model.load_state_dict(torch.load(out)["state_dict"], strict=True)
    assert f"wrote {len(state)} weights" in capsys.readouterr().out


def test_another_network_is_refused(converter, model):
    state = old_state(model)
    with pytest.raises(ValueError, match="rpn_head.rpn_cls.weight"):
        converter.convert(dict(state_dict={**state, "rpn_head.rpn_cls.weight": torch.ones(1)}))
    backbone = {k: v for k, v in state.items() if k.startswith("backbone.")}
    with pytest.raises(ValueError, match=r"neck.deconvs.2.\*"):
        converter.convert(backbone)


def test_every_missing_part_is_named(converter, model):
    state = old_state(model)
    parts = {name.rpartition(".")[0] for name in pedestron_names()}
    for part in (*parts, "backbone.conv1", "backbone.layer3"):
        rest = {k: v for k, v in state.items() if not k.startswith(f"{part}.")}
        assert len(rest) < len(state)
        with pytest.raises(ValueError, match="expected weights named"):
            converter.convert(rest)
