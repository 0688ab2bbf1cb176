"""tools/benchmark_unfolded.py times both ways and says which one serves."""


def test_both_ways_are_timed(tiny):
    done = tiny.run(
        "benchmark_unfolded", "--shape", 2, 32, 16, 2, "--shape", 2, 32, 16, 6, "--threads", 1,
        "--repeats", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line for line in done.stdout.splitlines() if " 32 " in line]
    assert len(rows) == 2 and "yes" in rows[0] and "yes" not in rows[1]
