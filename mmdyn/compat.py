"""Repairs, in the running process, where released OpenMMLab packages do not do what they document.

Three gaps are closed, each only where the installed packages have it:

* mmengine reads ``_base_ = 'pkg::…'`` for a fixed list of packages. mmdyn is not on it, and mmseg
  is listed under a distribution name that the onedl packages no longer carry.
* mmengine 0.10.7 looks packages up through ``pkg_resources``, which setuptools 82 removed and
  which does not find editable installs.
* mmengine 0.10.7 calls ``torch.load`` with its defaults, and since torch 2.6 that default refuses
  the logs that mmengine itself puts into every checkpoint.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.config import config as mmengine_config
from mmengine.config import utils as config_utils
from mmengine.logging import HistoryBuffer


def prepare() -> None:
    """Applies every repair that the installed packages need; calling it again changes nothing.

    mmdyn's tools call this before they read a config. A script of your own that reads ``mmdyn::``
    or ``mmseg::`` bases, or loads checkpoints with mmengine 0.10.7 under torch >= 2.6, calls it
    once at its start.
    """
    repair_config_packages()
    allow_checkpoint_logs()


def repair_config_packages() -> None:
    """Makes ``_base_ = 'pkg::folder/file.py'`` resolve for mmdyn and all installed hosts."""
    for name in ("mmdyn", *config_utils.MODULE2PACKAGE):
        if _package_dir(name) is not None:
            # What is a module but no distribution, mmengine looks up as a module, on both stacks.
            config_utils.MODULE2PACKAGE[name] = name
    if not _finds_mmdyn():
        mmengine_config.is_installed = _is_installed
        mmengine_config.get_installed_path = _installed_path


def allow_checkpoint_logs() -> None:
    """Lets ``torch.load(weights_only=True)`` read what mmengine saves beside the weights.

    That is the training log (``HistoryBuffer``, with the names of its averages) and the NumPy
    arrays and numbers in it. Nothing else is allowed: a checkpoint still cannot run code. Before
    torch 2.6 nothing needs allowing.
    """
    if torch.__version__ < (2, 6):
        return
    allowed: list = [HistoryBuffer, np.ndarray, np.dtype, (_log_method, "builtins.getattr")]
    allowed += [type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"]
    for value in (np.zeros(1), np.float64(0)):
        rebuild = value.__reduce__()[0]
        # NumPy 2 moved these functions; a checkpoint names the place in the NumPy that wrote it.
        for place in ("core", "_core"):
            allowed.append((rebuild, f"numpy.{place}.multiarray.{rebuild.__name__}"))
    torch.serialization.add_safe_globals(allowed)


def _log_method(owner: type, name: str) -> Callable:
    """Stands in for ``getattr``, by which a pickled training log names its own methods."""
    if owner is not HistoryBuffer or name.startswith("_"):
        raise UnpicklingError(
            f"expected the name of a HistoryBuffer method in the checkpoint, got {name!r} of "
            f"{owner!r}; load only checkpoints that mmengine wrote."
        )
    return getattr(owner, name)


def _package_dir(name: str) -> Path | None:
    """The folder of a top-level package's ``__init__.py``, or None where it is not installed."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _finds_mmdyn() -> bool:
    """Whether mmengine's own lookup finds the folder that mmdyn is in."""
    try:
        return Path(mmengine_config.get_installed_path("mmdyn")).is_dir()
    except ImportError:
        return False


def _is_installed(package: str) -> bool:
    return _package_dir(package) is not None


def _installed_path(package: str) -> str:
    found = _package_dir(package)
    if found is None:
        raise ModuleNotFoundError(
            f"expected an installed package before '::' in the config, got {package!r}; "
            "install it or correct the name."
        )
    return str(found)
