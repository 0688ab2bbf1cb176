"""Several processes without a GPU."""

import pytest
import torch
from mmengine.config import Config

from mmdyn.engine import launch


@pytest.fixture
def config() -> Config:
    norm = dict(type="SyncBN", requires_grad=True)
    return Config(dict(model=dict(type="X", norm_cfg=norm, heads=[dict(norm_cfg=norm)])))


def test_one_process_changes_nothing(config: Config) -> None:
    launch.prepare_launch(config, "none")
    assert config.launcher == "none" and config.model.norm_cfg.type == "SyncBN"


def test_outside_of_torchrun(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(RuntimeError, match=r"RANK.*dist_train\.sh"):
        launch.prepare_launch(config, "pytorch")


def test_processes_of_a_cpu(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(launch.dist, "is_initialized", lambda: False)
    monkeypatch.setattr(launch.dist, "init_process_group", started.append)
    launch.prepare_launch(config, "pytorch")
    assert started == ["gloo"] and config.env_cfg.dist_cfg.backend == "gloo"
    assert config.model_wrapper_cfg.device_ids is None
    assert config.model.norm_cfg.type == config.model.heads[0].norm_cfg.type == "BN"


def test_gpus_are_left_to_mmengine(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    launch.prepare_launch(config, "pytorch")
    assert "model_wrapper_cfg" not in config and config.model.norm_cfg.type == "SyncBN"


def test_a_process_on_its_own_is_not_ended() -> None:
    launch.finish_launch()


def test_a_joined_process_leaves_and_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    monkeypatch.setattr(launch.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(launch.dist, "get_backend", lambda: "gloo")
    monkeypatch.setattr(launch.dist, "destroy_process_group", lambda: done.append("left"))
    monkeypatch.setattr(launch.atexit, "_run_exitfuncs", lambda: done.append("handlers"))
    monkeypatch.setattr(launch.os, "_exit", done.append)
    launch.finish_launch()
    assert done == ["left", "handlers", 0]
