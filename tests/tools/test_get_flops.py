"""tools/get_flops.py counts what mmengine counts, and the executed part of it."""

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from mmengine.analysis import FlopAnalyzer, get_model_complexity_info

from mmdyn.conversion import runtime_of
from mmdyn.conversion.counting import count_macs
from mmdyn.engine.inference import build_model, read_config


@pytest.mark.parametrize(
    "config",
    [
        "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py",
        "mmseg::fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py",
    ],
)
def test_dense_counts_agree_with_mmengine(config: str) -> None:
    pytest.importorskip(config.split("::")[0])
    model = build_model(read_config(config))
    ours = count_macs(model, (64, 96))
    theirs = FlopAnalyzer(model, (torch.randn(1, 3, 64, 96),)).by_module()
    total = get_model_complexity_info(model, (3, 64, 96), show_table=False, show_arch=False)
    assert total["flops"] == theirs[""]
    assert len(ours) > 20
    assert {name: theirs[name] for name in ours} == ours


def test_random_share_on_noise(
    tool: ModuleType, tiny: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "new" / "counts.json"
    tool.main(
        [tiny.config, "--shape", "128", "--block-size", "32", "--active", "0.25"]
        + ["--json", str(path)]
    )
    assert "backbone" in capsys.readouterr().out
    record = json.loads(path.read_text())
    assert record["executed_macs"] / record["dense_macs"] == pytest.approx(0.25, abs=0.02)
    assert record["dense_macs"] == sum(m["dense"] for m in record["modules"].values())


def test_policy_on_a_clip(tool: ModuleType, tiny: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    tool.main(
        [tiny.config, "--clip", tiny.clip, "--block-size", "32", "--policy", "none"]
        + ["--json", str(path)]
    )
    record = json.loads(path.read_text())
    assert record["dense_macs"] > 0 and record["executed_macs"] == 0


def test_dense_only(tool: ModuleType, tiny: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    tool.main([tiny.config, "--shape", "64", "96", "--dense", "--depth", "1"])
    out = capsys.readouterr().out
    assert "executed" not in out.splitlines()[-1]


def test_refusals(tool: ModuleType, tiny: SimpleNamespace) -> None:
    with pytest.raises(SystemExit, match="config x.py is missing"):
        tool.main(["x.py"])
    with pytest.raises(SystemExit, match="no.mp4 is missing"):
        tool.main([tiny.config, "--clip", "no.mp4"])
    for wrong in (["--active", "1.5"], ["--shape", "1", "2", "3"]):
        with pytest.raises(SystemExit):
            tool.main([tiny.config, *wrong])
    with pytest.raises(SystemExit, match="unknown policy 'foo'"):
        tool.main([tiny.config, "--clip", tiny.clip, "--policy", "foo"])
    with pytest.raises(SystemExit):
        tool.main([tiny.config, "--clip", tiny.clip, "--method", "segblocks"])


def test_a_clip_is_counted_on_blocks_whatever_the_config_says(
    tool: ModuleType, tiny: SimpleNamespace
) -> None:
    options = {"model.type": "mmdyn.BlockCopy", "model.host": "EncoderDecoder"}
    model = build_model(read_config(tiny.config, {**options, "model.dense_fallback": True}))
    tool.prepare_clip(tool.parse_args([tiny.config, "--clip", tiny.clip]), model)
    assert runtime_of(model).config.dense_fallback is False


def test_another_method_has_no_clip(tool: ModuleType, tiny: SimpleNamespace) -> None:
    line = ["model.type=mmdyn.SegBlocks", "model.host=EncoderDecoder", "model.block_size=32"]
    with pytest.raises(SystemExit, match="got SegBlocks; name the stock config"):
        tool.main([tiny.config, "--clip", tiny.clip, "--cfg-options", *line])


def test_the_config_says_what_is_counted(tool: ModuleType, tiny: SimpleNamespace) -> None:
    def method(line: str, *asked: str) -> str:
        options = {"model.type": f"mmdyn.{line}", "model.host": "EncoderDecoder"}
        model = build_model(read_config(tiny.config, options))
        return tool.method_of(model, tool.parse_args([tiny.config, *asked]))

    assert method("SegBlocks") == "segblocks" and method("BlockCopy") == "blockcopy"
    assert method("DynConv", "--method", "blockcopy") == "blockcopy"
    method("DynConv", "--dense")
    with pytest.raises(ValueError, match="DynConv's gates, which decide by the image"):
        method("DynConv")
