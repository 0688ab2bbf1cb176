"""The plots show the rows that the benchmark wrote, and nothing else."""

import importlib.util
import json
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "plot_benchmarks.py"

HOW = "BlockCopy, blocks 128, 1 image, cpu, 2 threads"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("plot_benchmarks", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(active: float, config: str = "mmdet::a/net.py", **changed) -> dict:
    made = dict(
        active=active, sparse_ms=100 * active, dense_ms=dict(eager=110.0, fused=100.0), frac=0.9,
        config=config, shape=[1, 3, 64, 128], dtype="fp32", method="blockcopy", device="cpu",
        threads=2, block_size=128,
    )  # fmt: skip
    return {**made, **changed}


def test_rows_are_grouped_and_sorted(tool, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([row(0.5), row(0.1)]))
    (tmp_path / "b.json").write_text(json.dumps(row(0.3)))
    (tmp_path / "c.json").write_text(json.dumps(row(0.3, "configs/other.py")))
    (tmp_path / "d.json").write_text(json.dumps({"something": "else"}))
    now = dict(provenance=dict(date="today"), rows=[row(0.2, peak_rss_mb=None), dict(budget=1)])
    (tmp_path / "e.json").write_text(json.dumps(now))
    files = [str(path) for path in tmp_path.glob("*.json")]
    rows = tool.read_rows(files)
    assert {name: [r["active"] for r in found] for name, found in rows.items()} == {
        f"net, 64x128, fp32\n{HOW}": [0.1, 0.2, 0.3, 0.5],
        f"other, 64x128, fp32\n{HOW}": [0.3],
    }
    out = tmp_path / "plot.png"
    tool.main([*files, "--out", str(out)])
    assert out.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "changed",
    [dict(method="segblocks"), dict(device="cuda"), dict(shape=[4, 3, 64, 128]), dict(threads=16),
     dict(block_size=[64, 128]), dict(dtype="bf16")],
)  # fmt: skip
def test_what_was_measured_otherwise_is_another_picture(tool, tmp_path, changed):
    (tmp_path / "a.json").write_text(json.dumps([row(0.5), row(0.3, **changed)]))
    rows = tool.read_rows([str(tmp_path / "a.json")])
    assert len(rows) == 2 and {len(found) for found in rows.values()} == {1}


def test_a_line_is_named_by_its_method(tool):
    old = row(0.5)
    del old["method"]
    assert tool.method_of(old) == "BlockCopy" and tool.method_of(dict(method="own")) == "own"
    assert tool.method_of(dict(method="segblocks")) == "SegBlocks"


def test_nothing_to_draw_is_said(tool, tmp_path):
    (tmp_path / "d.json").write_text("{}")
    with pytest.raises(SystemExit, match="no rows"):
        tool.main([str(tmp_path / "d.json"), "--out", str(tmp_path / "x.png")])
    assert not (tmp_path / "x.png").exists()


def test_parts_of_networks_have_a_picture_of_their_own(tool, tmp_path):
    part = dict(part="backbone.layer1", dense_ms=4.0, sparse_ms=2.0, frac=0.6, share=0.3)
    rest = dict(part="rest", dense_ms=0.1, sparse_ms=1.0, frac=None, share=None)
    how = dict(config="mmdet::a/net.py", shape=[64, 128], method="blockcopy", active=0.3)
    (tmp_path / "layers.json").write_text(json.dumps(dict(how, parts=[part, rest])))
    (tmp_path / "a.json").write_text(json.dumps([row(0.5)]))
    files = [str(path) for path in tmp_path.glob("*.json")]
    assert tool.read_parts(files) == {"net, 64x128, BlockCopy 30%": [part]}
    out = tmp_path / "layers.png"
    tool.main([*files, "--out", str(out), "--layers"])
    assert out.read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(SystemExit, match="benchmark_layers"):
        tool.main([str(tmp_path / "a.json"), "--out", str(out), "--layers"])


def test_files_of_earlier_versions_are_read(tool):
    files = [str(path) for path in (TOOL.parents[1] / "docs" / "benchmarks").glob("*_fp32.json")]
    rows = [row for found in tool.read_rows(files).values() for row in found]
    assert len(rows) >= len(files) > 5
