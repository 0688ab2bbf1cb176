"""The table of benchmarks says what the files say."""

import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "benchmark_table.py"
ROW = dict(
    ideal=4.0, dense_ms={"fused": 200.4, "compile": 180.0}, sparse_ms=50.0, policy_ms=3.21,
    speedup=3.6, frac=0.9, first_frame_ms=300.0, state_mb=12.0, peak_rss_mb=700.0,
)  # fmt: skip


def run(*files):
    return subprocess.run([sys.executable, TOOL, *files], capture_output=True, text=True)


def test_a_line_a_row_and_the_name_once(tmp_path):
    path = tmp_path / "net_fp32.json"
    failed = {**ROW, "ideal": 1.0, "peak_rss_mb": None}
    path.write_text(json.dumps(dict(rows=[ROW, failed], dense_peak_rss_mb=650.0)))
    head, _, first, second = run(path).stdout.splitlines()
    assert first == (
        "| net_fp32 | 25.0 % | - | 200 | 180 | 50 | 3.2 | 3.60x | 4.00x | **0.90** | 300 | 12 | "
        "700 | 650 |"
    )
    assert second.startswith("|  | 100.0 % |") and second.endswith("| - | - |")
    assert {line.count("|") for line in (head, first, second)} == {15}


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[1, 2]")
    for file in (path, tmp_path / "none.json"):
        found = run(file)
        assert found.returncode == 2 and "is no result of tools/benchmark.py" in found.stderr


def test_the_documents_table_is_what_the_committed_files_say():
    docs = TOOL.parents[1] / "docs"
    files = [f for kind in ("fp32", "bf16") for f in sorted(docs.glob(f"benchmarks/*_{kind}.json"))]
    made = run(*files)
    assert made.returncode == 0, made.stderr
    written = (docs / "benchmarks.md").read_text().splitlines()
    missing = [line for line in made.stdout.splitlines() if line not in written]
    assert len(files) > 10 and not missing
