"""tools/benchmark_convs.py times all ways and says which one serves."""

import json

from mmdyn.ops.conv.packed import tiles_work


def test_kernels_of_one_pixel(tiny):
    done = tiny.run(
        "benchmark_convs", "--shape", 2, 32, 16, 4, "--shape", 2, 32, 16, 8, "--kernel", 1,
        "--threads", 1, "--repeats", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line for line in done.stdout.splitlines() if " 32 " in line]
    assert [("compiled" in row) for row in rows] == [tiles_work(), False]


def test_all_ways_are_timed(tiny):
    done = tiny.run(
        "benchmark_convs", "--shape", 2, 32, 16, 2, "--shape", 2, 32, 16, 6, "--threads", 1,
        "--repeats", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line for line in done.stdout.splitlines() if " 32 " in line]
    compiled = tiles_work()
    assert len(rows) == 2
    assert ("compiled" if compiled else "unfolded") in rows[0]
    assert ("compiled" if compiled else "oneDNN") in rows[1]


def test_results_are_written(tiny, tmp_path):
    path = tmp_path / "convs.json"
    done = tiny.run(
        "benchmark_convs", "--shape", 2, 32, 16, 4, "--threads", 1, "--repeats", 1, "--json", path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(path.read_text())
    (row,) = found["rows"]
    assert row["shape"] == [2, 32, 16, 4] and {"oneDNN", "unfolded"} <= row["ms"].keys()
    assert row["serves"] in row["ms"] and found["provenance"]["command"].endswith("convs.json")
