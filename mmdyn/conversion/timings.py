"""Times that are kept from run to run: the file, and what they are times of.

A time holds for one network on one processor with one PyTorch, so all three are part of its key.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import chain
from pathlib import Path

import torch
from torch import nn
from torch.nn.parameter import is_lazy

logger = logging.getLogger(__name__)

_CPUINFO = Path("/proc/cpuinfo")
_ADDRESS = re.compile(r"0x[0-9a-f]+")  # of an object in a module's description


class TimesFile:
    """Entries of times in a JSON file, by key.

    Args:
        path: Read where it exists, written by `update`; None keeps nothing.
        option: The config's field that names it, for messages.
        numbers: The numbers of an entry; raises for one of another kind.

    Raises:
        ValueError: If the file cannot be written, or holds something else.
    """

    def __init__(
        self,
        path: str | os.PathLike | None,
        option: str,
        numbers: Callable[[dict], Iterable[float]],
    ) -> None:
        self.path = None if path is None else os.fspath(path)
        self.option = option
        self._entries = {} if path is None else _read(Path(path), option, numbers)
        self._untold = bool(self._entries)

    def get(self, key: str) -> dict | None:
        """An entry. Says once where the file has others only."""
        found = self._entries.get(key)
        if found is None and self._untold:
            logger.info(
                "%s=%r has no times of this network at this size with this processor, number of "
                "threads and PyTorch: they are measured", self.option, self.path,
            )  # fmt: skip
        self._untold = False
        return found

    def update(self, entries: dict[str, dict]) -> None:
        """Writes the file with these entries; where that fails, says so and goes on without."""
        self._entries.update(entries)
        if self.path is None:
            return
        part = Path(f"{self.path}.{os.getpid()}")
        try:
            part.write_text(json.dumps(self._entries, indent=1))
            part.replace(self.path)  # whole or not at all
        except OSError as error:
            logger.warning("%s=%r: times are not kept any more: %s", self.option, self.path, error)
            self.path = None


def _read(path: Path, option: str, numbers: Callable[[dict], Iterable[float]]) -> dict[str, dict]:
    """What the file holds, empty if there is none; see `TimesFile`."""
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(
            f"{option}={str(path)!r}: expected a file that can be written; make its folder, "
            "or name another file"
        )
    try:
        saved = json.loads(path.read_text()) if path.exists() else {}
        for entry in saved.values():
            if not all(map(math.isfinite, numbers(entry))):
                raise ValueError("a time is not finite")
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"{option}={str(path)!r}: expected times that mmdyn wrote, cannot read them "
            f"({error}); delete the file, or name another"
        ) from error
    return saved


def network_key(model: nn.Module) -> str:
    """A network's class, and a hash of its modules' kinds, parameters and buffers.

    Networks of one class differ in it unless all names, shapes, types and what modules say of
    themselves (stride, dilation) are the same; the values do not matter.
    """
    said = hashlib.sha256()
    for name, module in model.named_modules():
        shown = _ADDRESS.sub("", module.extra_repr())
        said.update(f"{name} {type(module).__name__} {shown}\n".encode())
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        shape = "lazy" if is_lazy(tensor) else tuple(tensor.shape)
        said.update(f"{name} {shape} {tensor.dtype}\n".encode())
    return f"{type(model).__name__} {said.hexdigest()[:12]}"


def machine_key(device: torch.device) -> str:
    """What computes: the processor and its widest registers, or the device; threads; PyTorch."""
    where = [torch.cuda.get_device_name(device)] if device.type == "cuda" else []
    return ", ".join([*where, _processor(), _operators(), f"{torch.get_num_threads()} threads",
                      f"torch {torch.__version__}"])  # fmt: skip


@lru_cache(maxsize=1)
def _processor() -> str:
    """The processor's name, with AVX-512 and AMX where they are there."""
    try:
        text = _CPUINFO.read_text(errors="replace")
    except OSError:
        text = ""
    lines = (line.partition(":") for line in text.splitlines())
    told = {field.strip(): value.strip() for field, _, value in lines}
    name = told.get("model name") or platform.processor() or platform.machine()
    flags = told.get("flags", "").split()
    wide = (("AVX-512", "avx512f"), ("AMX", "amx_tile"))
    return " ".join([name, *(word for word, flag in wide if flag in flags)])


@lru_cache(maxsize=1)
def _operators() -> str:
    """Which operators serve: blocks are slower without the compiled ones."""
    try:
        return f"operators of {torch.ops.mmdyn.tile_bits()} bits"
    except AttributeError:  # not compiled
        return "plain operators"
