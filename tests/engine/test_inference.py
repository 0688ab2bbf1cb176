"""Configs, models and frames as the tools load them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdyn import BlockCopyConfig, SegBlocksConfig, convert_model
from mmdyn.conversion import is_converted, runtime_of
from mmdyn.engine.inference import (
    build_model,
    check_checkpoint,
    check_fit,
    convert_as_asked,
    dataset_config,
    dataset_meta,
    frames_dataset,
    load_weights,
    pipeline_config,
    read_config,
    read_frames,
)
from mmdyn.visualization import FilmWriter
from tests.conversion.networks import network


def test_config_of_an_installed_package_and_options() -> None:
    pytest.importorskip("mmdet")
    cfg = read_config("mmdet::retinanet/retinanet_r18_fpn_1x_coco.py", {"model.neck.num_outs": 4})
    assert cfg.model.neck.num_outs == 4
    assert dataset_meta(cfg)["classes"][0] == "person"
    assert pipeline_config(cfg)[0]["type"] == "LoadImageFromFile"


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="give a path, or mmdet::"):
        read_config(tmp_path / "none.py")
    (tmp_path / "near.pth").touch()
    with pytest.raises(FileNotFoundError, match=r"in that folder are .*near\.pth"):
        check_checkpoint(str(tmp_path / "none.pth"))
    assert check_checkpoint("https://host/x.pth") == "https://host/x.pth"
    with pytest.raises(FileNotFoundError, match="video file or a folder"):
        frames_dataset(tmp_path / "none", [])


@pytest.mark.parametrize("content", [b"x", b"", b"PK\x03\x04 cut off"])
def test_broken_weights_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.pth cannot be read .*; is the file whole"):
        load_weights(torch.nn.Linear(2, 2), str(path))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    def block(width: int) -> torch.nn.Module:
        layers = [torch.nn.Conv2d(3, width, 3), torch.nn.BatchNorm2d(width)]
        return torch.nn.Sequential(*layers, torch.nn.Conv2d(width, 3, 3))

    path = str(tmp_path / "narrow.pth")
    torch.save(dict(state_dict=block(4).state_dict()), path)
    wide, narrow = block(8), block(4)
    before = wide[0].weight.clone()
    said = r"narrow\.pth is another network's: of the 6 parameters of Sequential, 1 are in it"
    with pytest.raises(ValueError, match=said):
        load_weights(wide, path)
    assert torch.equal(wide[0].weight, before)
    load_weights(narrow, path)
    with pytest.raises(ValueError, match=said):
        check_fit(torch.nn.DataParallel(wide), torch.load(path), path)
    check_fit(torch.nn.DataParallel(narrow), torch.load(path), path)

    # A head of other classes is left out, as a backbone's weights are taken.
    narrow[2] = torch.nn.Conv2d(4, 5, 3)
    load_weights(narrow, path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="holds no state_dict"):
        load_weights(narrow, path)


def test_dense_weights_fit_a_network_with_gates_or_a_policy(tmp_path: Path) -> None:
    path = str(tmp_path / "dense.pth")
    parts = {"conv": torch.nn.Conv2d(3, 3, 3)}
    torch.save(dict(state_dict=torch.nn.ModuleDict(parts).state_dict()), path)
    for added in ("dynconv_gate", "block_policy"):
        parts[added] = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(4)))
    net = torch.nn.ModuleDict(parts)
    load_weights(net, path)
    parts["head"] = parts.pop("block_policy")
    with pytest.raises(ValueError, match=r"of the 10 parameters of ModuleDict, 2 are in it"):
        load_weights(torch.nn.ModuleDict(parts), path)


def test_a_tool_converts_as_it_is_asked() -> None:
    def config(net: torch.nn.Module) -> BlockCopyConfig:
        return runtime_of(net).config

    asked = dict(budget=0.2, policy=None)
    net = network()
    convert_as_asked(net, asked, trial=False, block_size=32)
    assert config(net) == BlockCopyConfig(budget=0.2, block_size=32, dense_fallback=False)

    net = network()
    convert_model(net, BlockCopyConfig(policy="random", dense_fallback=True), trial=False)
    convert_as_asked(net, asked, trial=False, dense_fallback=True)
    assert config(net) == BlockCopyConfig(budget=0.2, policy="random", dense_fallback=True)
    convert_as_asked(net, asked, trial=False)
    assert config(net).dense_fallback is False
    with pytest.raises(ValueError, match="unknown policy 'foo'"):
        convert_as_asked(net, dict(policy="foo"), trial=False)
    assert not is_converted(net)
    convert_model(net, SegBlocksConfig(), trial=False)
    with pytest.raises(ValueError, match="got SegBlocks; name the stock config"):
        convert_as_asked(net, asked, trial=False)


def test_innermost_dataset() -> None:
    inner = dict(type="A", pipeline=[1])
    for outer in (inner, dict(dataset=inner), dict(datasets=[dict(dataset=inner)])):
        assert dataset_config(Config(dict(test_dataloader=dict(dataset=outer)))).type == "A"
    assert dataset_config(Config({})) == {}
    with pytest.raises(ValueError, match="no test pipeline"):
        pipeline_config(Config({}))


def test_nothing_is_downloaded() -> None:
    """Stock configs name weights on the web; a model without a checkpoint does not want them."""
    pytest.importorskip("mmseg")
    cfg = read_config("mmseg::fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py")
    assert cfg.model.pretrained
    model = build_model(cfg)
    assert not model.training and "Pretrained" not in str(model.backbone.init_cfg)
    assert cfg.model.pretrained, "the config stays as it was"
    assert not any("SyncBatchNorm" in type(m).__name__ for m in model.modules())
    assert len(model.dataset_meta["classes"]) == 19


@pytest.fixture
def steps() -> list:
    pytest.importorskip("mmseg")
    from mmengine.registry import DefaultScope

    DefaultScope.get_instance("test-frames", scope_name="mmseg")
    return [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=(32, 24)),
        dict(type="LoadAnnotations"),
        dict(type="PackSegInputs"),
    ]


def test_frames_of_a_folder(tmp_path: Path, steps: list, caplog) -> None:
    for number in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((48, 64, 3), number, np.uint8))
    (tmp_path / "2.png").write_bytes(b"broken")
    frames = list(read_frames(frames_dataset(tmp_path, steps)))
    assert [frame.image[0, 0, 0] for frame in frames] == [1, 10]
    assert [frame.number for frame in frames] == [0, 2]
    assert "2.png is not a readable image" in caplog.text
    (sample,) = frames[1].data["data_samples"]
    assert sample.frame_id == 2 and sample.ori_shape == (48, 64)
    assert frames[1].data["inputs"][0].shape == (3, 24, 32)


def test_frames_of_a_video_keep_their_pixels(tmp_path: Path, steps: list) -> None:
    path = tmp_path / "film.avi"
    with FilmWriter(path) as film:
        for level in (50, 150, 250):
            film.write(np.full((48, 64, 3), level, np.uint8))
    frames = list(read_frames(frames_dataset(path, steps), limit=2))
    assert [round(float(f.image.mean()) / 50) for f in frames] == [1, 3]
    assert frames[0].image.shape == (48, 64, 3)
    assert frames[1].data["data_samples"][0].video_id == "film.avi"
