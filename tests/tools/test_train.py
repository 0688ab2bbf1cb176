"""tools/train.py trains, in mixed precision without a GPU too, and refuses clearly."""

from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from mmengine.config import Config


def test_trains_a_config_in_mixed_precision(tiny: SimpleNamespace, tmp_path: Path) -> None:
    done = tiny.run("train", tiny.config, "--work-dir", tmp_path, "--amp")
    assert done.returncode == 0, done.stderr[-3000:]
    state = torch.load(tmp_path / "iter_2.pth", weights_only=False)["state_dict"]
    assert all(torch.isfinite(v.float()).all() for v in state.values())


def test_resume_of_a_fine_tuning_goes_on_where_it_stopped(
    tiny: SimpleNamespace, tmp_path: Path
) -> None:
    start = f"load_from={tiny.checkpoint}"
    for iterations in (2, 4):  # there is nothing to go on from at first
        done = tiny.run(
            "train", tiny.config, "--work-dir", tmp_path, "--resume", "--cfg-options", start,
            f"train_cfg.max_iters={iterations}", "log_level=INFO",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert (tmp_path / f"iter_{iterations}.pth").exists()
    first, second = sorted(tmp_path.glob("*/*.log"))
    assert "resumed epoch" not in first.read_text()
    assert "resumed epoch: 0, iter: 2" in second.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.py",), "config missing.py is missing"),
        (("{config}", "--resume", "missing.pth"), "checkpoint missing.pth is missing"),
        (("{config}", "--cfg-options", "load_from=a.pth"), "checkpoint a.pth is missing"),
    ],
)
def test_missing_files_are_named(
    tool: ModuleType, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, arguments, words
) -> None:
    monkeypatch.setattr(
        "sys.argv", ["train.py", *(a.format(config=tiny.config) for a in arguments)]
    )
    with pytest.raises(SystemExit, match=words):
        tool.main()


def test_mixed_precision_by_device(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrapper(gpu: bool, kind: str = "OptimWrapper") -> str:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        cfg = Config(dict(optim_wrapper=dict(type=kind, optimizer=dict(type="SGD", lr=0.1))))
        tool.use_mixed_precision(cfg)
        assert cfg.optim_wrapper.optimizer.lr == 0.1
        return cfg.optim_wrapper.type

    assert wrapper(gpu=True) == "AmpOptimWrapper"
    assert wrapper(gpu=False) == "mmdyn.AutocastOptimWrapper"
    assert wrapper(gpu=False, kind="mmdyn.AutocastOptimWrapper") == "mmdyn.AutocastOptimWrapper"
    with pytest.raises(ValueError, match="leave --amp off"):
        wrapper(gpu=True, kind="DeepSpeedOptimWrapper")
