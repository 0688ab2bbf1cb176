"""Imports a room's files for the packages that are installed."""

from __future__ import annotations

import importlib
import importlib.util
import logging

from mmengine.logging import print_log


def import_available(room: str, **files: tuple[str, ...]) -> list[str]:
    """Imports the files of a room whose package is there, so that they register themselves.

    A user of mmseg alone has no mmdet, and the other way round. A package that is installed but
    cannot be imported is reported in the log, once, and its files are left out.

    Args:
        room (str): The importing package, such as 'mmdyn.datasets'.
        **files (tuple): Package name to names of files in the room.

    Returns:
        list: The full names of the imported files.
    """
    imported = []
    for package, names in files.items():
        if importlib.util.find_spec(package) is None:
            continue
        for name in names:
            try:
                importlib.import_module(f"{room}.{name}")
            except (ImportError, AssertionError) as error:
                print_log(
                    f"{room}.{name} is left out: {package} is installed, but the import failed "
                    f"({error}). Repair the installation of {package} to use it.",
                    logger="current",
                    level=logging.WARNING,
                )
                break
            imported.append(f"{room}.{name}")
    return imported
