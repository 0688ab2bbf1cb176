"""Freed memory stays with the process: page faults would cost up to half of a frame's time."""

from __future__ import annotations

import ctypes
import logging
import os
import platform

logger = logging.getLogger(__name__)

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_SETTINGS = (
    (_M_MMAP_MAX, 0),
    (_M_TRIM_THRESHOLD, 2**31 - 1),
    (_M_TOP_PAD, 64 * 2**20),
)
_OFF = "MMDYN_MALLOPT"
_done: dict[str, bool] = {}


def keep_freed_memory() -> bool:
    """Makes glibc keep large buffers that PyTorch frees, for the next layer to use.

    By default glibc takes each buffer of more than 32 MiB from the kernel and gives it back when it
    is freed, so that every layer faults all its pages in anew. All of mmdyn's tools call this at
    their start, dense and sparse runs alike. The setting holds for the whole process and its
    memory then never shrinks; a second call does nothing. ``MMDYN_MALLOPT=0`` in the environment
    leaves the allocator alone.

    Returns:
        Whether it is in force: False without glibc, with another allocator preloaded that does
        not take the settings, or when switched off.
    """
    if "kept" not in _done:
        _done["kept"] = _apply()
    return _done["kept"]


def _apply() -> bool:
    if os.environ.get(_OFF, "1") == "0":
        logger.info("%s=0: the allocator is left as it is", _OFF)
        return False
    if platform.libc_ver()[0] != "glibc":
        logger.info("no glibc here: the allocator is left as it is")
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        logger.info("the C library has no mallopt: the allocator is left as it is")
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    kept = all(mallopt(name, value) == 1 for name, value in _SETTINGS)
    logger.info("freed memory %s", "stays with the process" if kept else "could not be kept")
    return kept
