"""tools/benchmark.py: what it refuses, measures, prints and writes."""

import json
from types import ModuleType, SimpleNamespace

import pytest
import torch

ROW = dict(
    active=0.0, dense_ms=dict(eager=2.0), peer_ms={}, sparse_ms=1.0, policy_ms=0.1,
    first_frames_ms=[3.0], speedup=2.0, ideal=None, frac=0.0, state_mb=0, peak_rss_mb=None,
    recording_rss_mb=None, config="c", shape=[64, 64], dtype="fp32", device="cpu", threads=1,
    torch="2", max_abs_difference_all=0.0, max_rel_difference_all=0.0, disturbed_samples=0,
)  # fmt: skip
SHORT = ["--skip", "compile", "--repeats", "1", "--warm-up", "1", "--retries", "0"]


def found(*rows: dict, **of_the_file) -> dict:
    return dict(dense_peak_rss_mb=None, rows=list(rows), **of_the_file)


def test_without_an_executed_block_there_is_no_ideal(tool: ModuleType, capsys) -> None:
    tool.show(found(ROW, dict(ROW, active=0.5, ideal=2.0)), True)
    printed = capsys.readouterr().out
    assert " - " in printed and "2.00x" in printed


def test_results_are_shown_and_written_where_either_fails(
    tool: ModuleType, tiny: SimpleNamespace, tmp_path, monkeypatch, capsys
) -> None:
    def broken(*args) -> None:
        raise OSError("no more")

    out = tmp_path / "rows.json"
    words = [tiny.config, "--json", str(out), "--threads", "1"]
    monkeypatch.setattr(tool, "add_peaks", lambda *args: None)
    monkeypatch.setattr(tool, "measure", lambda args, active, clock: dict(ROW, active=active))
    for part in ("show", "add_peaks"):
        out.unlink(missing_ok=True)
        with monkeypatch.context() as patch, pytest.raises(OSError, match="no more"):
            patch.setattr(tool, part, broken)
            tool.main(words)
        assert json.loads(out.read_text())["rows"][0]["active"] == 0.3
    capsys.readouterr()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no more"):
        patch.setattr(tool, "save", broken)
        tool.main(words)
    assert "30.0%" in capsys.readouterr().out


def test_a_network_that_executes_nothing_is_measured(
    tool: ModuleType, tiny: SimpleNamespace, tmp_path
) -> None:
    out = tmp_path / "rows.json"
    words = [tiny.config, "--shape", "64", "64", "--block-size", "32", "--policy", "none", *SHORT]
    tool.main([*words, "--threads", "1", "--no-memory", "--json", str(out)])
    file = json.loads(out.read_text())
    (row,) = file["rows"]
    assert row["ideal"] is None and row["active"] == 0.0
    assert row["peak_rss_mb"] is None and "memory_error" not in row
    assert row["config"] == "tiny.py" and str(tmp_path) not in out.read_text()
    assert file["provenance"]["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize("method", ["blockcopy", "segblocks"])
def test_padded_images_are_compared_with_the_dense_network_on_them(
    tool: ModuleType, tiny: SimpleNamespace, method: str
) -> None:
    words = [tiny.config, "--shape", "40", "56", "--block-size", "32", "--method", method, *SHORT]
    args = tool.parse_args([*words, "--threads", "1"])
    row = tool.measure(args, 0.5, tool.Clock("cpu", 0))
    core, frames = tool.network(args)
    with torch.no_grad():
        largest = float(tool.first_output(core(frames[0])).abs().max())
    assert row["max_abs_difference_all"] < 1e-5 * max(largest, 1.0)
    assert row["max_rel_difference_all"] < 1e-4
    assert row["shape"] == [1, 3, 40, 56]


def test_differences_are_of_the_largest_value(tool: ModuleType, tiny: SimpleNamespace, monkeypatch):
    words = [tiny.config, "--shape", "64", "64", "--block-size", "32", *SHORT, "--threads", "1"]
    wanted = torch.full((1, 1, 2, 2), -4.0)
    monkeypatch.setattr(tool, "dense_output", lambda *args: wanted)
    monkeypatch.setattr(tool, "all_full", lambda core, *args: (core(args[1]), (1.0, 2.0))[1])
    row = tool.measure(tool.parse_args(words), 0.5, tool.Clock("cpu", 0))
    assert row["max_abs_difference_all"] == 1.0 and row["max_rel_difference_all"] == 0.25


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shape", "64"], "--shape takes H W or N C H W"),
        (["--shape", "64", "0"], "argument --shape: must be a whole number from 1"),
        (["--skip", "nope"], "invalid choice: 'nope'"),
        (["--skip", "eager", "fused", "compile"], "--skip leaves no dense baseline"),
        (["--retries", "-1"], "argument --retries: must be a whole number from 0"),
        (["--repeats", "0"], "argument --repeats: must be a whole number from 1"),
        (["--threads", "0"], "argument --threads: must be a whole number from 1"),
        (["--warm-up", "-1"], "argument --warm-up: must be a whole number from 0"),
        (["--active", "30"], "argument --active: must be a share from 0 to 1"),
        (["--block-size", "big"], "--block-size takes a side"),
        (["--block-size", "4"], "block_size must be an int >= 8"),
        (["--json", "/no/such/folder/x.json"], "x.json cannot be written"),
    ],
)
def test_bad_options_end_in_a_line(tool: ModuleType, tiny, capsys, words: list, said: str) -> None:
    with pytest.raises(SystemExit) as ended:
        tool.parse_args([tiny.config, *words])
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_a_missing_config_ends_in_a_line(tool: ModuleType, capsys) -> None:
    with pytest.raises(SystemExit):
        tool.parse_args(["no/such/config.py"])
    assert "config no/such/config.py cannot be read" in capsys.readouterr().err


def test_every_peak_is_of_one_network_alone(tool: ModuleType, monkeypatch, capsys) -> None:
    asked = []

    def in_child(script, words: list) -> list:
        asked.append(words)
        if words[-1] == "--peak-of=0.5":
            raise tool.ChildFailed("out of memory")
        return [100.0 + len(asked), 200.0]

    monkeypatch.setattr(tool, "in_child", in_child)
    of_the_file = found(ROW, dict(ROW, active=0.5))
    tool.add_peaks(of_the_file, [0.3, 0.5], ["c"])
    assert asked == [["c", f"--peak-of={one}"] for one in ("null", "0.3", "0.5")]
    assert of_the_file["dense_peak_rss_mb"] == 101.0
    assert [row["peak_rss_mb"] for row in of_the_file["rows"]] == [102.0, None]
    assert of_the_file["rows"][1]["memory_error"] == "out of memory"
    tool.show(of_the_file, True)
    printed = capsys.readouterr().out
    assert "no peak of memory, 50.0%: out of memory" in printed
    assert "dense network alone 101 MiB" in printed and " MB" not in printed


def test_peaks_come_from_processes_of_their_own(tiny: SimpleNamespace, tmp_path) -> None:
    out = tmp_path / "rows.json"
    done = tiny.run(
        "benchmark", tiny.config, "--shape", 128, 128, "--block-size", 32, "--active", 0.5, 0.25,
        *SHORT, "--threads", 1, "--json", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    file = json.loads(out.read_text())
    peaks = [file["dense_peak_rss_mb"], *(row["peak_rss_mb"] for row in file["rows"])]
    assert all(100 < peak < 4000 for peak in peaks)
    assert all(row["recording_rss_mb"] > 100 for row in file["rows"])
