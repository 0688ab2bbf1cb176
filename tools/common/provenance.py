"""Where numbers come from: machine, versions, code, date and command, written beside results."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import datetime
from importlib.metadata import packages_distributions, version
from pathlib import Path

import psutil
import torch

import mmdyn

ROOT = Path(__file__).resolve().parents[2]
CODE = ("mmdyn", "tools", "configs")
PACKAGES = ("mmengine", "mmcv", "mmdet", "mmseg")
FLAGS = re.compile(r"avx2|avx512\w*|amx\w*")
_ABSOLUTE = re.compile(r"(?<![\w.])(?:/[^\s/,;:='\"()\[\]{}]+)+/?")


def provenance() -> dict:
    """What a reader needs to judge numbers or to measure them again; no path of this machine."""
    names = packages_distributions()
    found = dict(
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        command=command(), commit=commit(), machine=machine(),
        versions=dict(
            python=platform.python_version(), torch=torch.__version__, mmdyn=mmdyn.__version__,
            **{name: version(names[name][0]) for name in PACKAGES if name in names},
        ),
    )  # fmt: skip
    switches = {k: v for k, v in sorted(os.environ.items()) if k.startswith("MMDYN_")}
    return dict(found, switches={name: without_paths(value) for name, value in switches.items()})


def save(path: str | os.PathLike, found: dict) -> None:
    """Writes results to a JSON file, with their provenance in front."""
    Path(path).write_text(json.dumps(dict(provenance=provenance(), **found), indent=1))


def command() -> str:
    """The command line, the tool's path relative to the repository."""
    return shlex.join(map(without_paths, sys.argv))


def without_paths(text: str) -> str:
    """Absolute paths made relative to the repository, or left with their last part outside of it.

    Paths that go up (``../``) are taken from the current folder.
    """
    if text.startswith(("/", "../")):
        return _short(str(Path(text).absolute()))
    return _ABSOLUTE.sub(lambda found: _short(found[0]), text)


def _short(path: str) -> str:
    full = Path(os.path.normpath(path))
    for each in (full, full.resolve()):  # a link in the repository may lead out of it, or into it
        if each.is_relative_to(ROOT):
            return each.relative_to(ROOT).as_posix()
    return full.name


def machine() -> dict:
    """Processor, its wide registers, cores, memory (GiB), operating system and GPU."""
    described = _processor()
    flags = described.get("flags", described.get("Features", "")).split()
    found = dict(
        processor=described.get("model name") or platform.processor() or platform.machine(),
        flags=sorted(filter(FLAGS.fullmatch, flags)),
        cores=psutil.cpu_count(logical=False), logical_cores=psutil.cpu_count(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1), os=platform.platform(),
    )  # fmt: skip
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> dict[str, str]:
    """What Linux says of the first processor."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def commit() -> dict | None:
    """The commit, and whether tracked code differs from it; None outside of git.

    Results that benchmarks before this one wrote into docs/ do not count.
    """
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != ROOT:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
    return dict(id=_git("rev-parse", "HEAD"), dirty=bool(changed))


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
