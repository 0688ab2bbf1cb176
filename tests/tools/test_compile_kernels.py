"""The Triton kernels compile for a GPU that is not here."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "compile_kernels.py"


def test_all_kernels_compile_for_sm_90(tmp_path):
    pytest.importorskip("triton.backends.nvidia")
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    env.update(TRITON_CACHE_DIR=str(tmp_path), PYTHONPATH=str(TOOL.parents[1]))
    ran = subprocess.run(
        [sys.executable, str(TOOL), "--dtypes", "bf16"], env=env, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = ran.stdout.splitlines()
    assert len(lines) == 11 and all(": ok, " in line for line in lines)
    assert all("tensor cores: True" in line for line in lines if " conv_kernel " in line)


def test_unknown_types_are_refused(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(["--dtypes", "int3"])
    assert "--dtypes: invalid choice: 'int3' (choose from" in capsys.readouterr().err


def test_kernels_without_machine_code_or_too_large_fail(tool):
    def verdict(shared: int, **asm) -> tuple[bool, str]:
        return tool.verdict(SimpleNamespace(asm=asm, metadata=SimpleNamespace(shared=shared)))

    good, said = verdict(1000, cubin=b"1234", ptx="mma")
    assert good and said == (
        "ok, 4 bytes of machine code, 1000 bytes of shared memory, tensor cores: True"
    )
    for failed in (verdict(1000, ptx=""), verdict(1000), verdict(10**6, cubin=b"1", ptx="")):
        assert not failed[0] and failed[1].startswith("FAILED, ")
