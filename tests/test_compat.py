"""Configs find their bases and mmengine reads its own checkpoints, on either stack."""

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.config import config as mmengine_config
from mmengine.config import utils as config_utils
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner, load_checkpoint, save_checkpoint

import mmdyn
from mmdyn import compat

CONFIGS = sorted((Path(__file__).resolve().parent.parent / "configs").rglob("*.py"))


def from_base(folder: Path, base: str) -> Config:
    path = folder / "child.py"
    path.write_text(f"_base_ = {base!r}\n")
    return Config.fromfile(path)


@pytest.mark.parametrize(
    ("package", "base"),
    [
        ("mmdet", "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"),
        ("mmseg", "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py"),
    ],
)
def test_stock_bases_resolve(package: str, base: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    model = from_base(tmp_path, base).model
    assert model._scope_ == package
    assert model.backbone.depth in (18, 50)


def test_own_bases_resolve(tmp_path: Path) -> None:
    mim = Path(mmdyn.__file__).parent / ".mim" / "configs"
    if not mim.is_dir():
        pytest.skip("needs an installed mmdyn: `make setup` places mmdyn/.mim")
    base = next(path for path in sorted(mim.rglob("*.py")) if "_base_" in path.parts)
    own = Config.fromfile(base)
    found = from_base(tmp_path, f"mmdyn::{base.relative_to(mim).as_posix()}")
    assert set(found.keys()) == set(own.keys())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_reads_as_text(path: Path) -> None:
    """An import can make mmengine take a file for a lazy config, which no text config may have."""
    assert not Config._is_lazy_import(str(path))
    assert len(Config.fromfile(path)) > 0


def test_lookup_is_replaced_where_the_stock_one_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def without_pkg_resources(package: str) -> str:
        raise ModuleNotFoundError("No module named 'pkg_resources'")

    monkeypatch.setattr(mmengine_config, "get_installed_path", without_pkg_resources)
    monkeypatch.setattr(mmengine_config, "is_installed", without_pkg_resources)
    compat.repair_config_packages()
    assert Path(mmengine_config.get_installed_path("mmdyn")) == Path(mmdyn.__file__).parent
    assert not mmengine_config.is_installed("no_such_package")
    with pytest.raises(ModuleNotFoundError, match="got 'no_such_package'; install it"):
        mmengine_config.get_installed_path("no_such_package")


def test_only_packages_that_are_there_are_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {"mmdet": "mmdet", "no_such_package": "no-such-distribution"}
    known = dict(before)
    monkeypatch.setattr(config_utils, "MODULE2PACKAGE", known)
    compat.prepare()
    compat.prepare()
    assert known == {**before, "mmdyn": "mmdyn"}


def test_checkpoint_with_a_training_log_loads(tmp_path: Path) -> None:
    model = torch.nn.Conv2d(3, 4, 1)
    log = HistoryBuffer([0.5, 0.25], [1, 1])
    log.update(0.125)
    checkpoint = dict(
        meta=dict(
            epoch=1, seed=np.int64(7), palette=np.zeros((2, 3), np.uint8), flags=np.array([True])
        ),
        state_dict=model.state_dict(),
        message_hub=dict(log_scalars={"train/loss": log}, runtime_info={}),
    )
    path = str(tmp_path / "checkpoint.pth")
    save_checkpoint(checkpoint, path)
    other = torch.nn.Conv2d(3, 4, 1)
    loaded = load_checkpoint(other, path)
    assert torch.equal(other.weight, model.weight)
    assert loaded["message_hub"]["log_scalars"]["train/loss"].current() == 0.125
    assert loaded["meta"]["seed"] == 7


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (print, ("code ran",)),
        (getattr, (torch.nn.Module, "eval")),
        (getattr, (HistoryBuffer, "__init__")),
    ],
)
def test_checkpoint_that_would_run_code_is_still_refused(
    function: Callable, arguments: tuple, tmp_path: Path
) -> None:
    class Payload:
        def __reduce__(self) -> tuple:
            return function, arguments

    compat.allow_checkpoint_logs()
    path = tmp_path / "payload.pth"
    torch.save(dict(state_dict=Payload()), path)
    with pytest.raises(UnpicklingError, match=r"Unsupported global|expected the name of a Hist"):
        torch.load(path, weights_only=True)


class Line(BaseModel):
    """One weight that learns to double its input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs: torch.Tensor, mode: str = "loss") -> dict[str, torch.Tensor]:
        return dict(loss=(self.weight * inputs - 2 * inputs).square().mean())


def test_runner_resumes_its_own_training(tmp_path: Path) -> None:
    def train(epochs: int, resume: bool) -> Runner:
        runner = Runner(
            Line(),
            work_dir=str(tmp_path),
            train_dataloader=dict(
                dataset=[dict(inputs=torch.ones(1)) for _ in range(4)],
                sampler=dict(type="DefaultSampler", shuffle=False),
                collate_fn=dict(type="default_collate"),
                batch_size=2,
                num_workers=0,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type="Adam", lr=0.1)),
            param_scheduler=[
                dict(type="LinearLR", start_factor=0.5, by_epoch=False, end=4),
                dict(type="CosineAnnealingLR", T_max=3),
            ],
            default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
            resume=resume,
            experiment_name=f"{tmp_path.name}-{epochs}",
        )
        runner.train()
        return runner

    halfway = train(1, resume=False)
    resumed = train(3, resume=True)
    assert halfway.epoch == 1
    assert resumed.epoch == 3
    log = resumed.message_hub.get_scalar("train/loss").data[0]
    assert len(log) == 6
    assert log[-1] < log[0]
