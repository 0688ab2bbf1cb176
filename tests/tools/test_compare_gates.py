"""tools/compare_gates.py: a dense and a gated network on one test set."""

import json
from types import ModuleType

import numpy as np
import pytest
import torch

from mmdyn.engine.inference import build_model, read_config
from tests.tools.test_density_maps import CONFIG

TESTED = """
val_cfg = test_cfg = dict(type="TestLoop")
test_evaluator = dict(type="mmdyn.Accuracy", topk=(1,))
"""
GATES = 'type="mmdyn.DynConv", host="ImageClassifier", budget=0.5, open_init=0.5,'


@pytest.fixture
def pairs(tmp_path) -> list:
    """A dense network and the same with gates, as config and checkpoint each."""
    images = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "test_images.npy", images)
    np.save(tmp_path / "test_labels.npy", np.array([0, 1, 2, 3, 4]))
    gated = CONFIG.format(root=str(tmp_path)) + TESTED.replace("val_cfg = ", "")
    dense = gated.replace(GATES, 'type="ImageClassifier",')
    assert dense != gated
    found: list = []
    torch.manual_seed(0)
    for name, text in (("dense", dense), ("gated", gated)):
        config = tmp_path / f"{name}.py"
        config.write_text(text)
        state = build_model(read_config(config)).state_dict()
        torch.save(dict(state_dict=state, meta={}), tmp_path / f"{name}.pth")
        found += [config, tmp_path / f"{name}.pth"]
    return found


def test_every_image_counts_and_gates_execute_less(tiny, pairs, tmp_path):
    out = tmp_path / "rows.json"
    done = tiny.run("compare_gates", *pairs, "--batch", 2, "--json", out)
    assert done.returncode == 0, done.stderr[-3000:]
    dense, gated = json.loads(out.read_text())["rows"]
    assert (dense["variant"], gated["variant"]) == ("dense", "gated")
    # Five images: top-1 is a multiple of a fifth.
    assert dense["metrics"]["accuracy/top1"] % 20.0 == pytest.approx(0.0, abs=1e-6)
    assert dense["executed"] == 1.0 and 0.0 < gated["executed"] < 1.0
    assert 0.0 < gated["gmacs"] < dense["gmacs"] < 0.02
    assert "images/s" in done.stdout


def test_a_network_without_gates_is_refused(tiny, pairs):
    done = tiny.run("compare_gates", *pairs[:2], pairs[0], pairs[3])
    assert done.returncode != 0 and "has no gates" in done.stderr


@pytest.mark.parametrize("option", ["--batch", "--batches"])
def test_counts_of_nothing_are_refused(refuses, option: str):
    refuses([option, "0"], f"{option}: must be a whole number from 1, got '0'")


def test_test_sets_that_are_not_there_end_with_a_line(tiny, pairs, tmp_path):
    (tmp_path / "test_images.npy").unlink()
    done = tiny.run("compare_gates", *pairs)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("tools/compare_gates.py: ") and "test_images.npy" in last
    text = pairs[0].read_text()
    pairs[0].write_text(text.replace("test_evaluator =", "other ="))
    said = tiny.run("compare_gates", *pairs).stderr
    assert "dense.py has no test_evaluator; add it to compare on." in said


def test_unknown_metrics_are_named(tool: ModuleType):
    with pytest.raises(SystemExit, match="--metric foo is none of accuracy/top1"):
        tool.show([dict(metrics={"accuracy/top1": 1.0})], "foo")


def test_checkpoints_of_one_config_are_told_apart(tiny, pairs, tmp_path):
    other = tmp_path / "other.pth"
    other.write_bytes(pairs[3].read_bytes())
    out = tmp_path / "rows.json"
    done = tiny.run("compare_gates", *pairs, pairs[2], other, "--batch", 5, "--json", out)
    assert done.returncode == 0, done.stderr[-3000:]
    names = [row["variant"] for row in json.loads(out.read_text())["rows"]]
    assert names == ["dense", "gated (gated)", "gated (other)"]
    done = tiny.run("compare_gates", *pairs, *pairs[2:])
    assert done.returncode and "name each network once, got gated (gated) again" in done.stderr
    assert "Traceback" not in done.stderr
