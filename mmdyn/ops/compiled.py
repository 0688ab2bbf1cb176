"""The operators in ``csrc``: compiled when mmdyn is installed, if there is a compiler.

    python -m mmdyn.ops.compiled      compiles them for the installed PyTorch, in half a minute

They serve CPU tensors in the operators of ``windows``, ``cells``, ``conv``, ``pictures``, ``rois``
and ``policy``. Without them, with another PyTorch than they were compiled for, and once a source
was edited, the reference does. They lie in ``csrc``, or in the folder that ``MMDYN_COMPILED_DIR``
names, and end with a checksum: one that lost a part would end the process where it is called.
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
from functools import lru_cache
from pathlib import Path

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).resolve().parent.parent / "csrc"
SOURCES = tuple(sorted((*FOLDER.glob("*.cpp"), *FOLDER.glob("*.h"))))
_SWITCH, _FOLDER = "MMDYN_COMPILED", "MMDYN_COMPILED_DIR"
_WORDS = {
    **dict.fromkeys(("1", "on", "true", "yes"), True),
    **dict.fromkeys(("0", "off", "false", "no"), False),
}
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


def _folders() -> list[Path]:
    """Where libraries are looked for, and written in the first: a user's folder, the package's."""
    named = os.environ.get(_FOLDER)
    return [*([Path(named).expanduser()] if named else []), FOLDER]


def found() -> list[Path]:
    """The libraries of these sources that there are; the first is the one to load."""
    name = library_path().name
    return [folder / name for folder in _folders() if (folder / name).exists()]


def build(folder: Path | None = None) -> Path:
    """Compiles the library into a folder; in the package's in place of other states of the source.

    Args:
        folder: By default the one that ``MMDYN_COMPILED_DIR`` names, else the package's.

    Raises:
        RuntimeError: If there is no compiler, or it fails, or the folder cannot be written; the
            message has what it said.
    """
    target = library_path(folder or _folders()[0])
    named, *options = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    compiler = shutil.which(named)
    if compiler is None:
        raise RuntimeError("no C++ compiler: install g++ or clang++, or name one with CXX")
    fresh = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        fresh.parent.mkdir(parents=True, exist_ok=True)
        fresh.touch()
    except OSError as error:
        raise RuntimeError(
            f"cannot write into {fresh.parent} ({error.strerror}): set {_FOLDER} to a folder of "
            "yours, now and where mmdyn runs"
        ) from error
    command = [compiler, *options, *_arguments(), "-o", str(fresh)]
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if ran.returncode != 0:
        fresh.unlink(missing_ok=True)
        raise RuntimeError(f"{compiler} failed:\n{ran.stderr[-2000:]}")
    with fresh.open("ab") as library:
        library.write(_checksum(fresh.read_bytes()))  # which loaders do not look at
    fresh.replace(target)  # whole or not at all
    if folder is not None or target.parent == FOLDER:  # a user's may serve several installations
        _remove_others(target)
    return target


def _arguments() -> list[str]:
    """The compiler's arguments, but for the result's name."""
    import torch
    from torch.utils.cpp_extension import include_paths, library_paths

    return [
        *_FLAGS, f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}",
        *(f"-I{path}" for path in include_paths()),
        *(str(x) for x in SOURCES if x.suffix == ".cpp"),
        *(f"-L{path}" for path in library_paths()), "-ltorch_cpu", "-lc10",
    ]  # fmt: skip


def _checksum(library: bytes) -> bytes:
    return hashlib.sha256(library).digest()


def _is_whole(path: Path) -> bool:
    """Whether a library is as `build` wrote it."""
    held, size = path.read_bytes(), hashlib.sha256().digest_size
    return _checksum(held[:-size]) == held[-size:]


def _remove_others(target: Path) -> None:
    """Deletes libraries of other sources, and what is left of builds that were stopped."""
    for old in target.parent.glob("copies-*.so*"):
        if old == target or not old.name.startswith(_platform()):
            continue
        try:
            if old.suffix == ".so" or time.time() - old.stat().st_mtime > _ABANDONED:
                old.unlink()  # whoever has it loaded keeps it
        except OSError:
            pass  # another process was faster, or it is another user's


def wanted() -> bool:
    """Whether the sources are there and not switched off with ``MMDYN_COMPILED=0``."""
    return is_on() and SOURCES != () and all(x.exists() for x in SOURCES)


def is_on() -> bool:
    """What ``MMDYN_COMPILED`` says: 1, on, true, yes or nothing; 0, off, false or no."""
    return _read_switch(os.environ.get(_SWITCH) or "1")


@lru_cache(maxsize=8)
def _read_switch(given: str) -> bool:
    if given.lower() not in _WORDS:
        logger.warning("expected %s to be 1 or 0, got %r; it is 1", _SWITCH, given)
    return _WORDS.get(given.lower(), True)


def load(path: Path | None = None) -> bool:
    """Lets the library serve, where it is; returns whether it does. ``MMDYN_COMPILED=0``: no."""
    if path is not None:
        return path.exists() and _load(path)
    return wanted() and any(map(_load, found()))


def _load(path: Path) -> bool:
    import torch

    try:
        if not _is_whole(path):
            raise OSError("it is not as it was written: run python -m mmdyn.ops.compiled again")
        torch.ops.load_library(str(path))
    except (OSError, RuntimeError) as error:
        logger.warning("%s cannot be loaded, PyTorch's own copies serve (%s)", path.name, error)
        return False
    return True


if __name__ == "__main__":
    try:
        print(f"compiled {build()}")
    except (OSError, RuntimeError) as error:
        sys.exit(f"mmdyn's operators are not compiled, PyTorch's own serve: {error}")
