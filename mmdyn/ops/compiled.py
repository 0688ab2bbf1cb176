"""The operators in ``csrc``: compiled when mmdyn is installed, if there is a compiler.

    python -m mmdyn.ops.compiled      compiles them for the installed PyTorch, in a few seconds

They serve CPU tensors in the operators of ``windows``, ``cells``, ``conv``, ``pictures`` and
``policy``. Without them, with another PyTorch than they were compiled for, and once a source was
edited, the reference does.
``setup.py`` runs this file by itself, so it imports nothing of mmdyn.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).resolve().parent.parent / "csrc"
SOURCES = tuple(sorted((*FOLDER.glob("*.cpp"), *FOLDER.glob("*.h"))))
_OFF = "MMDYN_COMPILED"
_FLAGS = ("-O3", "-std=c++20", "-fPIC", "-shared", "-fopenmp")
_ABANDONED = 3600.0  # seconds after which an unfinished library is that of a build that ended


def library_path(folder: Path = FOLDER) -> Path:
    """Where the library of these sources, for this PyTorch and machine, is if it was compiled."""
    parts = [" ".join(_FLAGS).encode(), *(x.read_bytes() for x in SOURCES)]
    made_of = hashlib.sha256(b"".join(parts)).hexdigest()[:12]
    return folder / f"{_platform()}-{made_of}.so"


def _platform() -> str:
    """How the libraries of any source begin that this PyTorch and machine can load."""
    import torch

    return f"copies-torch{torch.__version__}-{sys.platform}-{platform.machine()}"


def build(folder: Path = FOLDER) -> Path:
    """Compiles the library into a folder, in place of those of other states of the source.

    Raises:
        RuntimeError: If there is no compiler, or it fails; the message has what it said.
    """
    from torch.utils.cpp_extension import include_paths, library_paths

    target = library_path(folder)
    named, *options = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    compiler = shutil.which(named)
    if compiler is None:
        raise RuntimeError("no C++ compiler: install g++ or clang++, or name one with CXX")
    fresh = target.with_name(f"{target.name}.{os.getpid()}")
    import torch

    units = [str(x) for x in SOURCES if x.suffix == ".cpp"]
    command = [
        compiler, *options, *_FLAGS,
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}",
        *(f"-I{path}" for path in include_paths()), *units, "-o", str(fresh),
        *(f"-L{path}" for path in library_paths()), "-ltorch_cpu", "-lc10",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if ran.returncode != 0:
        fresh.unlink(missing_ok=True)
        raise RuntimeError(f"{compiler} failed:\n{ran.stderr[-2000:]}")
    fresh.replace(target)  # whole or not at all
    _remove_others(target)
    return target


def _remove_others(target: Path) -> None:
    """Deletes libraries of other sources, and what is left of builds that were stopped."""
    for old in target.parent.glob("copies-*.so*"):
        if old == target or not old.name.startswith(_platform()):
            continue
        try:
            if old.suffix == ".so" or time.time() - old.stat().st_mtime > _ABANDONED:
                old.unlink()  # whoever has it loaded keeps it
        except FileNotFoundError:
            pass  # another process was faster


def wanted() -> bool:
    """Whether the sources are there and not switched off with ``MMDYN_COMPILED=0``."""
    return os.environ.get(_OFF, "1") != "0" and SOURCES != () and all(x.exists() for x in SOURCES)


def load(path: Path | None = None) -> bool:
    """Lets the library serve, where it is; returns whether it does. ``MMDYN_COMPILED=0``: no."""
    import torch

    if path is None:
        if not wanted():
            return False
        path = library_path()
    if not path.exists():
        return False
    try:
        torch.ops.load_library(str(path))
    except (OSError, RuntimeError) as error:
        logger.warning("%s cannot be loaded, PyTorch's own copies serve (%s)", path.name, error)
        return False
    return True


if __name__ == "__main__":
    print(f"compiled {build()}")
