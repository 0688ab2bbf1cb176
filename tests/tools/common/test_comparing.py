"""tools/common/comparing.py: what the dense rows are counted on, and files that are not there."""

import argparse
import copy
from types import ModuleType, SimpleNamespace

import pytest
import torch

from mmdyn.conversion.counting import count_macs
from mmdyn.engine.inference import build_model, read_config
from tests.tools.conftest import load_tool


@pytest.fixture
def model(tiny: SimpleNamespace):
    return build_model(read_config(tiny.config)).to(memory_format=torch.channels_last)


def frame(height: int, width: int) -> dict:
    from mmseg.structures import SegDataSample

    size = (height, width)
    sample = SegDataSample(metainfo=dict(ori_shape=size, img_shape=size))
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    return dict(inputs=[image], data_samples=[sample])


def gmacs(model, *size: int) -> float:
    return sum(count_macs(model, size).values()) / 1e9


def test_the_stock_network_is_counted_on_the_image_without_padding(tool: ModuleType, model) -> None:
    dense = tool.Dense(model)
    dense.prepare(frame(72, 80))
    assert dense.run_gmacs == pytest.approx(gmacs(model, 72, 80))
    assert dense.run_gmacs < 0.9 * gmacs(model, 96, 96)


def test_prepacked_convolutions_are_counted(tool: ModuleType, model) -> None:
    fused = load_tool("common/models").fused(model)
    assert any(type(m).__name__ == "PrepackedConv2d" for m in fused.modules())
    dense, packed = tool.Dense(model), tool.Dense(fused)
    for variant in (dense, packed):
        variant.prepare(frame(72, 80))
    assert packed.run_gmacs == pytest.approx(dense.run_gmacs)


def test_smaller_images_are_counted_at_the_size_they_get(tool: ModuleType, model) -> None:
    half = tool.Scaled(model, 0.5)
    half.prepare(frame(72, 180))
    assert half.run_gmacs == pytest.approx(gmacs(model, 32, 96))


def test_skipping_starts_anew_after_it_was_counted(model) -> None:
    skipping = load_tool("compare_video").Skipping(model, 2)
    skipping.prepare(frame(64, 64))
    assert skipping.run_gmacs == pytest.approx(gmacs(model, 64, 64))
    for _ in range(4):
        skipping(frame(64, 64))
    assert skipping.shares == [1.0, 0.0, 1.0, 0.0]


def options(tiny: SimpleNamespace, **changes) -> argparse.Namespace:
    given = dict(config=tiny.config, checkpoint=tiny.checkpoint, cfg_options=None, dense=None)
    return argparse.Namespace(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(config="x.py"), "config x.py is missing"),
        (dict(checkpoint="x.pth"), "checkpoint x.pth is missing"),
        (dict(dense="y.pth"), "checkpoint y.pth is missing"),
    ],
)
def test_missing_files_are_named_before_anything_is_built(
    tool: ModuleType, tiny: SimpleNamespace, changes: dict, words: str, monkeypatch
) -> None:
    monkeypatch.setattr(tool.Runner, "from_cfg", lambda cfg: pytest.fail("built"))
    with pytest.raises(SystemExit, match=words):
        tool.build_runner(options(tiny, **changes))


def test_broken_checkpoints_end_with_a_line(
    tool: ModuleType, tiny: SimpleNamespace, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pth").write_text("x")
    with pytest.raises(SystemExit, match=r"bad\.pth cannot be read"):
        tool.build_runner(options(tiny, checkpoint="bad.pth"))


def test_a_config_of_an_installed_package_is_built(
    tool: ModuleType, tiny: SimpleNamespace, monkeypatch
) -> None:
    seen = []

    def from_cfg(cfg):
        seen.append(copy.deepcopy(cfg))
        return SimpleNamespace(model=build_model(cfg))

    monkeypatch.setattr(tool.Runner, "from_cfg", from_cfg)
    monkeypatch.setattr(tool, "load_weights", lambda model, path: {})
    name = "mmseg::fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py"
    tool.build_runner(options(tiny, config=name, cfg_options={"test_evaluator.type": "X"}))
    assert seen[0].model.backbone.type == "FastSCNN" and seen[0].test_evaluator.type == "X"
    assert seen[0].work_dir == "work_dirs/fast_scnn_8xb4-160k_cityscapes-512x1024"
