"""tools/memory.py: what it writes, and how it ends where a process fails."""

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest


def test_numbers_of_all_passes_are_written(tiny: SimpleNamespace, tmp_path) -> None:
    path = tmp_path / "memory.json"
    done = tiny.run(
        "memory", tiny.config, "--shape", 64, 64, "--block-size", 32, "--budgets", 0.5,
        "--json", path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(path.read_text())
    assert found["config"] == "tiny.py" and found["shape"] == [64, 64] and found["batch"] == 2
    assert [row["budget"] for row in found["rows"]] == [None, 0.5]
    assert all(row["recording"] > 0 for row in found["rows"])
    assert found["provenance"]["machine"]["memory_gib"] > 0


def test_a_process_that_fails_ends_in_a_line(
    tool: ModuleType, tiny: SimpleNamespace, monkeypatch
) -> None:
    def in_child(script, words: list) -> list:
        raise tool.ChildFailed("out of memory")

    monkeypatch.setattr(tool, "in_child", in_child)
    with pytest.raises(SystemExit, match="tools/memory.py: out of memory"):
        tool.main([tiny.config])


def test_networks_that_are_no_segmentors_are_refused(tool: ModuleType, tmp_path, capsys) -> None:
    config = tmp_path / "classifier.py"
    config.write_text("model = dict(type='ImageClassifier', head=dict(type='LinearClsHead'))")
    with pytest.raises(SystemExit):
        tool.parse_args([str(config), "--shape", "32", "32"])
    said = capsys.readouterr().err
    assert "ImageClassifier, has no decode_head; this tool measures segmentors" in said


def test_cascades_of_heads_are_measured(tool: ModuleType, tiny, tmp_path, monkeypatch) -> None:
    text = Path(tiny.config).read_text()
    text += """
first = model["decode_head"]
second = {k: v for k, v in first.items() if k not in ("num_convs", "concat_input")}
second.update(type="OCRHead", ocr_channels=8)
model.update(type="CascadeEncoderDecoder", num_stages=2, decode_head=[first, second])
"""
    config = tmp_path / "cascade.py"
    config.write_text(text)
    monkeypatch.setattr(tool, "peak_of", lambda step, device: (0.0, 1.0))
    args = tool.parse_args([str(config), "--shape", "64", "64"])
    assert tool.measure(args, None, False) == [1.0, 1.0]


def test_peaks_are_beyond_what_was_there(tool: ModuleType, tiny, monkeypatch) -> None:
    passes = iter([(100.0, 130.0), (90.0, 105.0)])
    monkeypatch.setattr(tool, "peak_of", lambda step, device: next(passes))
    args = tool.parse_args([tiny.config, "--shape", "64", "64"])
    assert tool.measure(args, None, True) == [15.0, 30.0]
