"""tools/test.py tests with the hook and no file touched, alone and in several processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import mmengine
import pytest
import torch
from mmengine.config import Config

ROOT = Path(__file__).parents[2]
HOOK = ("default_hooks.blockcopy.type=mmdyn.BlockCopyHook", "default_hooks.blockcopy.block_size=32")


def test_hook_from_the_command_line(tiny: SimpleNamespace, tmp_path: Path) -> None:
    out, shown = tmp_path / "out.pkl", tmp_path / "shown"
    done = tiny.run(
        "test", tiny.config, tiny.checkpoint, "--work-dir", tmp_path / "work", "--out", out,
        "--show-dir", shown, "--cfg-options", *HOOK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(mmengine.load(out)) == 4
    assert len(list(shown.glob("*.jpg"))) == 4, "one picture a frame, with its blocks"
    (result,) = (tmp_path / "work").glob("*/*.json")
    assert "mIoU" in json.loads(result.read_text())


def test_two_processes_without_a_gpu(tiny: SimpleNamespace, tmp_path: Path) -> None:
    pytest.importorskip("torch.distributed")
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "",
        "PYTHON": sys.executable, "PORT": str(20000 + os.getpid() % 20000),
    }  # fmt: skip
    command = [
        str(ROOT / "tools" / "dist_test.sh"), tiny.config, tiny.checkpoint, "2",
        "--work-dir", str(tmp_path), "--cfg-options", *HOOK,
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=250
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert len(list(tmp_path.glob("*/*.json"))) == 1


def refused(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setattr("sys.argv", ["test.py", *arguments])
    with pytest.raises(SystemExit) as error:
        tool.main()
    return str(error.value)


def test_refusals(tool: ModuleType, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    good = (tiny.config, tiny.checkpoint)
    assert "config a.py is missing" in refused(tool, monkeypatch, "a.py", tiny.checkpoint)
    assert "tiny.pth" in refused(tool, monkeypatch, tiny.config, str(tiny.folder / "other.pth"))
    broken = tiny.folder / "broken.pth"
    broken.write_bytes(b"x")
    assert "cannot be read" in refused(tool, monkeypatch, tiny.config, str(broken))
    assert "must end in .pkl" in refused(tool, monkeypatch, *good, "--out", "a.json")
    assert "tta_model" in refused(tool, monkeypatch, *good, "--tta")
    assert "test without --tta" in refused(
        tool, monkeypatch, *good, "--tta", "--cfg-options", HOOK[0]
    )
    assert "'InfiniteSampler' may interleave" in refused(
        tool, monkeypatch, *good, "--launcher", "pytorch", "--cfg-options", HOOK[0],
        "test_dataloader.sampler.type=InfiniteSampler",
    )  # fmt: skip


def test_blockcopy_is_found_in_model_and_hooks(tool: ModuleType) -> None:
    def uses(**cfg) -> bool:
        return tool.uses_blockcopy(Config(dict(model=dict(type="X"), **cfg)))

    assert not uses(default_hooks=dict(a=dict(type="LoggerHook"), b=None))
    assert uses(custom_hooks=[dict(type="mmdyn.BlockCopyHook")])
    assert tool.uses_blockcopy(Config(dict(model=dict(type="mmdyn.BlockCopy"))))


def test_weights_of_another_network_are_named(tiny: SimpleNamespace, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.pth"
    torch.save(dict(state_dict=torch.nn.Linear(2, 2).state_dict()), foreign)
    done = tiny.run("test", tiny.config, foreign, "--work-dir", tmp_path / "work")
    assert done.returncode == 1
    assert "foreign.pth is another network's" in done.stderr.strip().splitlines()[-1]
