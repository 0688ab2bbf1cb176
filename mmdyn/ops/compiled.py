"""The copies of ``csrc/copies.cpp``: compiled when mmdyn is installed, if there is a compiler.

    python -m mmdyn.ops.compiled      compiles them for the installed PyTorch, in a few seconds

They serve CPU tensors in the operators of ``windows`` and ``cells``. Without them, and with another
PyTorch than they were compiled for, the reference does. ``setup.py`` runs this file by itself, so
it imports nothing of mmdyn.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

logger = logging.getLogger(__name__)

SOURCE = Path(__file__).resolve().parent.parent / "csrc" / "copies.cpp"
_OFF = "MMDYN_COMPILED"


def library_path(folder: Path = SOURCE.parent) -> Path:
    """Where the library for this PyTorch and machine is, if it was compiled."""
    import torch

    return folder / f"copies-torch{torch.__version__}-{sys.platform}-{platform.machine()}.so"


def build(folder: Path = SOURCE.parent) -> Path:
    """Compiles the library into a folder.

    Raises:
        RuntimeError: If there is no compiler, or it fails; the message has what it said.
    """
    from torch.utils.cpp_extension import include_paths, library_paths

    target = library_path(folder)
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        raise RuntimeError("no C++ compiler: install g++ or clang++, or name one with CXX")
    fresh = target.with_name(f"{target.name}.{os.getpid()}")
    import torch

    command = [
        compiler, "-O3", "-std=c++20", "-fPIC", "-shared", "-fopenmp",
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}",
        *(f"-I{path}" for path in include_paths()), str(SOURCE), "-o", str(fresh),
        *(f"-L{path}" for path in library_paths()), "-ltorch_cpu", "-lc10",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        fresh.unlink(missing_ok=True)
        raise RuntimeError(f"{compiler} failed:\n{ran.stderr[-2000:]}")
    fresh.replace(target)  # whole or not at all
    return target


def load(path: Path | None = None) -> bool:
    """Lets the library serve, where it is; returns whether it does. ``MMDYN_COMPILED=0``: no."""
    import torch

    if path is None:
        path = library_path()
        if os.environ.get(_OFF, "1") == "0":
            return False
    if not path.exists():
        return False
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        logger.warning("%s cannot be loaded, PyTorch's own copies serve (%s)", path.name, error)
        return False
    return True


if __name__ == "__main__":
    print(f"compiled {build()}")
