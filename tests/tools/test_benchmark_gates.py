"""tools/benchmark_gates.py times what it says, and counts it."""

import json

import pytest


def test_it_counts_and_times_a_backbone(tiny, tmp_path):
    path = tmp_path / "gates.json"
    done = tiny.run(
        "benchmark_gates", tiny.config, "--shape", 64, 96, "--active", 0.25, "--tile", 2,
        "--repeats", 2, "--json", path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    row = json.loads(path.read_text())
    assert 0.2 < row["executed_share_of_gated"] < 0.8
    assert row["executed_gmacs"] < row["dense_gmacs"]
    assert row["ideal"] == pytest.approx(row["dense_gmacs"] / row["executed_gmacs"])
    assert row["speedup"] == pytest.approx(row["dense_ms"] / row["gated_ms"])
    assert row["of_ideal"] == pytest.approx(row["speedup"] / row["ideal"])
    assert len(row["samples_ms"]["gated"]) == 2
    assert row["config"] == "tiny.py" and row["provenance"]["machine"]["logical_cores"] > 0
