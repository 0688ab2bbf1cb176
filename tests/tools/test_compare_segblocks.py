"""tools/compare_segblocks.py: every variant runs the weights and the decision that it names."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch


def test_variants_of_a_test_set(tiny: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    done = tiny.run(
        "compare_segblocks", tiny.config, tiny.checkpoint, "--block-size", 32, "--budgets", 0.5,
        "--policies", "reinforce", "random", "all-full", "all-half", "--seeds", 2, "--json", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {row["variant"]: row for row in json.loads(out.read_text())["rows"]}
    assert list(rows) == [
        "dense", "dense at scale 0.5", "reinforce 0.5", "random 0.5, seed 0", "random 0.5, seed 1",
        "all-full", "all-half",
    ]  # fmt: skip
    dense, full, half = rows["dense"], rows["all-full"], rows["all-half"]
    assert full["metrics"]["mIoU"] == pytest.approx(dense["metrics"]["mIoU"], abs=0.05)
    assert full["gmacs"] == pytest.approx(dense["gmacs"], rel=1e-3)
    assert half["gmacs"] == pytest.approx(dense["gmacs"] / 4, rel=0.02)
    assert rows["random 0.5, seed 0"]["executed"] == 0.5


def test_dense_rows_have_their_own_weights(tiny: SimpleNamespace, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    state = torch.load(tiny.checkpoint, weights_only=False)
    head = {k: -v for k, v in state["state_dict"].items() if "conv_seg" in k}
    torch.save(dict(state, state_dict={**state["state_dict"], **head}), other)
    out = tmp_path / "rows.json"
    done = tiny.run(
        "compare_segblocks", tiny.config, tiny.checkpoint, "--dense", other, "--block-size", 32,
        "--policies", "all-full", "--scales", "--json", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {row["variant"]: row for row in json.loads(out.read_text())["rows"]}
    assert rows["dense"]["metrics"] != rows["all-full"]["metrics"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policies", "foo"], "unknown policy 'foo'; known: ['all-full'"),
        (["--block-size", "7"], "block_size must be an int >= 8, a pair of them or 'auto', got 7"),
        (["--block-size", "64", "64", "64"], "got (64, 64, 64)"),
        (["--budgets", "2"], "--budgets: must be a share from 0 to 1, got '2'"),
        (["--frames", "0"], "--frames: must be a whole number from 1, got '0'"),
        (["--scales", "0"], "--scales: must be a number above 0, got '0'"),
    ],
)
def test_what_cannot_be_compared_is_refused(refuses, words: list, said: str) -> None:
    refuses(words, said)


def test_another_networks_weights_are_refused(tiny: SimpleNamespace, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    state = torch.load(tiny.checkpoint, weights_only=False)["state_dict"]
    torch.save(dict(state_dict={f"x.{k}": v for k, v in state.items()}, meta={}), other)
    for words in ([other], [tiny.checkpoint, "--dense", other]):
        done = tiny.run("compare_segblocks", tiny.config, *words, "--block-size", 32)
        assert done.returncode != 0 and "Traceback" not in done.stderr
        last = done.stderr.splitlines()[-1]
        assert "other.pth is another network's" in last and " 0 are in it" in last
