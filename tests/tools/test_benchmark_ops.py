"""tools/benchmark_ops.py leaves the compiled library alone by itself."""

import json
import os
from types import SimpleNamespace

import pytest

from mmdyn.ops import compiled


def test_both_ways_are_timed_whatever_the_environment_says(
    tiny: SimpleNamespace, tmp_path, monkeypatch
) -> None:
    if not compiled.library_path().exists():
        pytest.skip("no compiled library here")
    monkeypatch.setitem(os.environ, "MMDYN_COMPILED", "1")
    path = tmp_path / "ops.json"
    done = tiny.run(
        "benchmark_ops", "--config", tiny.config, "--shape", 64, 64, "--block-size", 32,
        "--threads", 1, "--repeats", 1, "--json", path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(path.read_text())
    assert all(row["torch_ms"] > 0 and row["compiled_ms"] > 0 for row in found["ops"])
    assert found["network"]["config"] == "tiny.py" and found["provenance"]["date"]


def test_a_wrong_block_size_ends_in_a_line(tiny: SimpleNamespace) -> None:
    done = tiny.run("benchmark_ops", "--block-size", "big")
    assert done.returncode == 2 and "--block-size takes a side" in done.stderr
