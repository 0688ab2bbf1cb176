"""tools/common/provenance.py: what is written beside results, and that no path is."""

import json
import platform
from pathlib import Path
from types import ModuleType

import psutil
import pytest
import torch

import mmdyn


def test_machine_versions_and_time_are_told(tool: ModuleType) -> None:
    found = json.loads(json.dumps(tool.provenance()))
    assert found["date"][:2] == "20" and found["date"][10] == "T"
    assert found["machine"]["logical_cores"] == psutil.cpu_count()
    assert found["machine"]["memory_gib"] > 0 and found["machine"]["processor"]
    versions = found["versions"]
    assert versions["torch"] == torch.__version__ and versions["mmdyn"] == mmdyn.__version__
    assert versions["python"] == platform.python_version()


def test_packages_are_found_under_the_name_they_are_distributed_by(tool: ModuleType) -> None:
    mmcv = pytest.importorskip("mmcv")
    assert tool.provenance()["versions"]["mmcv"] == mmcv.__version__


def test_wide_registers_are_told(tool: ModuleType, monkeypatch) -> None:
    told = {"model name": "Fast", "flags": "fpu avx avx2 avx512f avx512_bf16 amx_tile sse4_2"}
    monkeypatch.setattr(tool, "_processor", lambda: told)
    found = tool.machine()
    assert found["processor"] == "Fast"
    assert found["flags"] == ["amx_tile", "avx2", "avx512_bf16", "avx512f"]


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("{root}/configs/a b/net.py", "configs/a b/net.py"),
        ("--json={root}/docs/x.json", "--json=docs/x.json"),
        ("--json=/elsewhere/x.json", "--json=x.json"),
        ("/else where/x.json", "x.json"),
        ("a.files=['/elsewhere/x', '{root}/y/z']", "a.files=['x', 'y/z']"),
        ("../../elsewhere/x.json", "x.json"),
        ("mmdet::mask_rcnn/net.py", "mmdet::mask_rcnn/net.py"),
        ("configs/net.py", "configs/net.py"),
        ("1/8", "1/8"),
    ],
)
def test_paths_of_the_machine_are_left_out(tool: ModuleType, word: str, wanted: str) -> None:
    assert tool.without_paths(word.format(root=tool.ROOT)) == wanted


def test_the_command_can_be_typed_again(tool: ModuleType, monkeypatch) -> None:
    words = [f"{tool.ROOT}/tools/benchmark.py", "a b.py", "--shape", "64", "64"]
    monkeypatch.setattr(tool.sys, "argv", words)
    assert tool.command() == "tools/benchmark.py 'a b.py' --shape 64 64"


def test_the_commit_is_told_and_whether_files_differ(tool: ModuleType, monkeypatch) -> None:
    answers = {"rev-parse --show-toplevel": str(tool.ROOT), "rev-parse HEAD": "abc"}
    monkeypatch.setattr(tool, "_git", lambda *words: answers.get(" ".join(words), ""))
    assert tool.commit() == dict(id="abc", dirty=False)
    answers["status --porcelain --untracked-files=no -- mmdyn tools configs"] = " M tools/x.py"
    assert tool.commit() == dict(id="abc", dirty=True)
    answers["rev-parse --show-toplevel"] = str(Path(tool.ROOT).parent)  # a copy in other code
    assert tool.commit() is None
    monkeypatch.setattr(tool, "_git", lambda *words: None)
    assert tool.commit() is None


def test_results_come_after_their_provenance(tool: ModuleType, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MMDYN_STREET", "/elsewhere/street")
    tool.save(tmp_path / "found.json", dict(rows=[1, 2]))
    text = (tmp_path / "found.json").read_text()
    found = json.loads(text)
    assert list(found) == ["provenance", "rows"] and found["rows"] == [1, 2]
    assert found["provenance"]["switches"]["MMDYN_STREET"] == "street"
    assert platform.node() not in found["provenance"]["machine"].values()
