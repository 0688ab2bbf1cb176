"""tools/common/peak.py: a peak is of one pass, and a child that fails is told."""

from pathlib import Path
from types import ModuleType

import pytest
import torch

linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts peaks")


@linux
def test_a_larger_pass_before_does_not_count(tool: ModuleType) -> None:
    _, large = tool.peak_of(lambda: torch.ones(128, 2**18), "cpu")
    before, small = tool.peak_of(lambda: torch.ones(16, 2**18), "cpu")
    assert large - small > 60  # MiB, of 128 and 16
    assert 12 < small - before < 60


@pytest.fixture
def child(tmp_path: Path) -> Path:
    path = tmp_path / "child.py"
    path.write_text(
        "import os, sys\n"
        "how = sys.argv[1]\n"
        "if how == 'fail': raise ValueError('no such layer')\n"
        "if how == 'killed': os.kill(os.getpid(), 9)\n"
        "print('a message')\n"
        "if how == 'fine': print('[1.5, 2.0]')\n"
    )
    return path


def test_a_child_prints_its_numbers_last(tool: ModuleType, child: Path) -> None:
    assert tool.in_child(child, ["fine"]) == [1.5, 2.0]


def test_a_child_that_cannot_start_says_why(tool: ModuleType, child: Path, monkeypatch) -> None:
    monkeypatch.setattr(tool.sys, "executable", str(child.parent / "no python"))
    with pytest.raises(tool.ChildFailed, match="could be started.*No such file"):
        tool.in_child(child, ["fine"])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("fail", "failed: ValueError: no such layer"),
        ("killed", "ended by signal 9"),
        ("silent", "printed no result"),
    ],
)
def test_a_child_that_fails_says_why(tool: ModuleType, child: Path, how: str, said: str) -> None:
    with pytest.raises(tool.ChildFailed, match=said):
        tool.in_child(child, [how])
