"""Every config is read on both stacks, and its model and hooks can be built."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, DefaultScope

import mmdyn
from mmdyn.engine.inference import build_model, read_config

ROOT = Path(__file__).resolve().parent.parent
LEAVES = sorted(
    path.relative_to(ROOT / "configs").as_posix()
    for path in (ROOT / "configs").glob("*/*.py")
    if path.parent.name != "_base_"
)


@pytest.mark.parametrize("name", LEAVES)
def test_config_is_read_and_its_hooks_are_known(name: str) -> None:
    cfg = read_config(ROOT / "configs" / name)
    scope = cfg.get("default_scope", "mmengine")
    pytest.importorskip(scope)
    if scope == "mmpretrain":  # its models import torchvision
        pytest.importorskip("torchvision")
    DefaultScope.get_instance(f"test-{name}", scope_name=scope)
    with MODELS.switch_scope_and_registry(None) as registry:
        assert registry.get(cfg.model["type"]) is not None
    with HOOKS.switch_scope_and_registry(None) as registry:
        for hook in cfg.default_hooks.values():
            assert registry.get(hook["type"]) is not None, hook


class Gated(torch.nn.Module):
    """One parameter of each kind that the configs' options tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.dynconv_gate = torch.nn.Conv2d(1, 1, 1), torch.nn.Conv2d(1, 1, 1)
        self.norm = torch.nn.BatchNorm2d(1)


@pytest.mark.parametrize("name", LEAVES)
def test_the_optimizer_takes_the_options(name: str) -> None:
    wrapper = read_config(ROOT / "configs" / name).get("optim_wrapper")
    if wrapper is None:
        pytest.skip("nothing to train")
    pytest.importorskip("mmdet.engine")
    options = {k: v for k, v in wrapper.items() if k not in ("dtype", "loss_scale")}
    made = build_optim_wrapper(Gated(), {**options, "type": "OptimWrapper"})
    assert len(made.param_groups) >= 1


@pytest.mark.parametrize(
    "name",
    [
        "retinanet_r50_fpn_blockcopy_coco.py",
        "mask-rcnn_r50_fpn_blockcopy_coco.py",
        "deeplabv3plus_r50-d8_blockcopy_cityscapes-1024x2048.py",
    ],
)
def test_one_line_converts_a_stock_model(name: str) -> None:
    cfg = read_config(ROOT / "configs" / "blockcopy" / name)
    pytest.importorskip(cfg.default_scope)
    model = build_model(cfg)
    assert mmdyn.is_converted(model)
    assert type(model).__name__ == f"BlockCopy{cfg.model['host']}"
    assert model.dataset_meta["classes"]


def test_configs_are_text() -> None:
    for path in (ROOT / "configs").rglob("*.py"):
        assert not Config._is_lazy_import(str(path)), f"{path} would be read as a lazy config"


@pytest.mark.parametrize("budget", ["05", "025"])
def test_gates_are_tuned_in_the_network_that_the_dense_config_trains(budget: str) -> None:
    folder = ROOT / "configs" / "dynconv"
    cfg = read_config(folder / f"hourglass4-w48_dynconv-s{budget}_1xb6-20e_lspet-256x256.py")
    trained = Path(cfg.load_from).parent.name
    dense = read_config(folder / f"{trained}.py")
    assert Path(cfg.load_from).name == f"epoch_{dense.train_cfg.max_epochs}.pth"
