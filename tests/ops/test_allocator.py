"""Freed memory stays with the process where glibc is there, and can be left alone."""

import os
import platform
import subprocess
import sys

import pytest

from mmdyn.ops import allocator

FAULTS = """
import resource
import numpy as np
from mmdyn.ops.allocator import keep_freed_memory

print(keep_freed_memory())

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.full(40 << 20, 1, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(min(faults() for _ in range(4)))
"""

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


def run(**environment: str) -> tuple[str, int]:
    """Whether memory was kept, and the page faults of four large buffers, one after the other."""
    variables = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env=variables, capture_output=True, text=True, check=True
    )
    kept, faults = done.stdout.split()
    return kept, int(faults)


@needs_glibc
def test_large_buffers_are_reused_without_page_faults() -> None:
    assert run(MMDYN_MALLOPT="0")[0] == "False"
    kept, faults = run(MMDYN_MALLOPT="1")
    assert kept == "True"
    assert faults < 4 * (40 << 20) // (4 << 10) // 10, "each buffer was taken from the kernel anew"


def test_does_nothing_where_there_is_no_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_done", {})
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.delenv("MMDYN_MALLOPT", raising=False)
    assert allocator.keep_freed_memory() is False


def test_logs_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(allocator, "_done", {})
    monkeypatch.setenv("MMDYN_MALLOPT", "0")
    with caplog.at_level("INFO", logger=allocator.__name__):
        assert allocator.keep_freed_memory() is False
        assert allocator.keep_freed_memory() is False
    assert len(caplog.records) == 1


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_done", {})
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    monkeypatch.delenv("MMDYN_MALLOPT", raising=False)
    assert allocator.keep_freed_memory() is False
