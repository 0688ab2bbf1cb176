"""Peak memory of passes, each network in a process of its own: a process' peak never falls."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

WARM = 8  # passes, after which modules are replayed


class ChildFailed(RuntimeError):
    """A measuring process ended without a number; says why."""


def in_child(tool: str | Path, words: list[str]) -> Any:
    """What a tool prints as JSON in its last line, started with these words in a new process.

    Raises:
        ChildFailed: If it does not end well.
    """
    try:
        run = subprocess.run(
            [sys.executable, str(tool), *words], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise ChildFailed(f"no measuring process could be started: {error}") from None
    said = run.stderr.strip().splitlines()
    if run.returncode < 0:
        raise ChildFailed(f"the measuring process was ended by signal {-run.returncode}")
    if run.returncode:
        raise ChildFailed(f"the measuring process failed: {said[-1] if said else 'no message'}")
    try:
        return json.loads(run.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise ChildFailed("the measuring process printed no result") from None


def peak_of(step: Callable[[], object], device: str) -> tuple[float, float]:
    """MiB held before a pass, and at its peak.

    On a GPU as torch counts them, on a CPU those of the whole process that are resident, after
    what the allocator keeps of earlier passes was given back.
    """
    if device.startswith("cuda"):
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return before / 2**20, torch.cuda.max_memory_allocated() / 2**20
    ctypes.CDLL(None).malloc_trim(0)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    step()
    return before, _resident("VmHWM")


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(field))
