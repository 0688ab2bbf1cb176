"""tools/compare_video.py: the rows it measures are of the variants that it names."""

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from mmdyn.conversion import runtime_of
from mmdyn.engine.inference import build_model, read_config


def test_variants_of_a_clip(tiny: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    done = tiny.run(
        "compare_video", tiny.config, tiny.checkpoint, "--block-size", 32, "--budgets", 1.0, 0.5,
        "--policies", "frame_difference", "--skip", 2, "--json", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {row["variant"]: row for row in json.loads(out.read_text())["rows"]}
    assert list(rows) == [
        "dense", "dense, fused", "every 2nd frame", "scale 0.5",
        "BlockCopy 1, frame_difference", "BlockCopy 0.5, frame_difference",
    ]  # fmt: skip
    dense, full = rows["dense"], rows["BlockCopy 1, frame_difference"]
    assert dense["frames"] == 4
    assert full["gmacs"] == pytest.approx(dense["gmacs"], rel=1e-3)
    assert full["metrics"]["mIoU"] == pytest.approx(dense["metrics"]["mIoU"], abs=0.05)
    assert rows["every 2nd frame"]["executed"] == 0.5
    assert rows["scale 0.5"]["gmacs"] == pytest.approx(dense["gmacs"] / 4)
    assert rows["BlockCopy 0.5, frame_difference"]["gmacs"] < 0.9 * dense["gmacs"]


def test_frames_are_counted_in_words(tool: ModuleType) -> None:
    numbers = (1, 2, 3, 4, 11, 12, 13, 21, 102, 113)
    words = "1st 2nd 3rd 4th 11th 12th 13th 21st 102nd 113th"
    assert " ".join(tool.ordinal(number) for number in numbers) == words


def test_every_seed_is_a_variant(tool: ModuleType, tiny: SimpleNamespace) -> None:
    args = SimpleNamespace(
        skip=[], scales=[], policies=["random"], budgets=[0.5], seeds=[3, 4], block_size=[32],
        blockcopy={},
    )  # fmt: skip
    variants = tool.build_variants(build_model(read_config(tiny.config)), args)
    seeds = {
        name: runtime_of(variant.model).policy.seed
        for name, variant in variants.items()
        if "seed" in name
    }
    assert seeds == {"BlockCopy 0.5, random, seed 3": 3, "BlockCopy 0.5, random, seed 4": 4}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policies", "foo"], "unknown policy 'foo'; known: ['all'"),
        (["--block-size", "7"], "block_size must be an int >= 8, a pair of them or 'auto', got 7"),
        (["--blockcopy", "foo=1"], "unexpected keyword argument 'foo'"),
        (["--skip", "0"], "--skip: must be a whole number from 1, got '0'"),
    ],
)
def test_what_cannot_be_compared_is_refused(refuses, words: list, said: str) -> None:
    refuses(words, said)
