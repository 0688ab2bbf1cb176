"""tools/benchmark.py: what it prints and writes."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

ROW = dict(
    active=0.0, dense_ms=dict(eager=2.0), peer_ms={}, sparse_ms=1.0, policy_ms=0.1,
    first_frames_ms=[3.0],
    speedup=2.0, ideal=None, frac=0.0, state_mb=0, peak_rss_mb=1, config="c", shape=[64, 64],
    dtype="fp32", device="cpu", threads=1, torch="2", max_abs_difference_all=0.0,
    disturbed_samples=0,
)  # fmt: skip


def test_without_an_executed_block_there_is_no_ideal(tool: ModuleType, capsys) -> None:
    tool.show([ROW, dict(ROW, active=0.5, ideal=2.0)], True)
    printed = capsys.readouterr().out
    assert " - " in printed and "2.00x" in printed


def test_results_are_written_before_they_are_shown(tool: ModuleType, tmp_path, monkeypatch) -> None:
    def broken(rows: list, allocator: bool) -> None:
        raise RuntimeError("not shown")

    out = tmp_path / "rows.json"
    monkeypatch.setattr(tool, "measure", lambda args, active, clock: dict(ROW, active=active))
    monkeypatch.setattr(tool, "show", broken)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "c", "--json", str(out), "--threads", "1"])
    with pytest.raises(RuntimeError, match="not shown"):
        tool.main()
    assert json.loads(out.read_text())["active"] == 0.3


def test_a_network_that_executes_nothing_is_measured(
    tool: ModuleType, tiny: SimpleNamespace, tmp_path, monkeypatch
) -> None:
    out = tmp_path / "rows.json"
    words = ["benchmark.py", tiny.config, "--shape", "64", "64", "--block-size", "32"]
    words += ["--policy", "none", "--skip", "compile", "--repeats", "1", "--warm-up", "1"]
    monkeypatch.setattr(
        sys, "argv", [*words, "--retries", "0", "--threads", "1", "--json", str(out)]
    )
    tool.main()
    row = json.loads(out.read_text())
    assert row["ideal"] is None and row["active"] == 0.0
