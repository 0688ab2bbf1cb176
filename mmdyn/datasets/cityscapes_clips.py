"""Cityscapes' snippets: which frames lead up to a labelled one. Knows names, no package."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from mmengine import fileio

_NAME = re.compile(r"^(?P<sequence>.+)_(?P<number>\d+)$")


def split_name(stem: str) -> tuple[str, int, int]:
    """'city/city_000000_000019' to the sequence, the frame's number and its digits."""
    match = _NAME.match(stem)
    if match is None:
        raise ValueError(
            f"expected a name like city/city_000000_000019, got '{stem}'; rename the file or take "
            "it out of the folder or list."
        )
    return match["sequence"], int(match["number"]), len(match["number"])


def stems_below(folder: str, suffix: str, backend_args: dict | None = None) -> list[str]:
    """Names of the files below a folder, sorted, relative to it and without their suffix."""
    try:
        names = list(
            fileio.list_dir_or_file(
                folder, list_dir=False, suffix=suffix, recursive=True, backend_args=backend_args
            )
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"folder {folder} is missing; set data_root and data_prefix to where Cityscapes is."
        ) from error
    return sorted(name[: -len(suffix)] for name in names)


def frames_present(stems: Iterable[str]) -> dict[str, dict[int, int]]:
    """Sequence to {number of a frame: digits it is written with}."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for stem in stems:
        sequence, number, digits = split_name(stem)
        found[sequence][number] = digits
    return found


def windows(
    labelled: Iterable[int], present: dict[int, int], before: int, after: int
) -> list[list[int]]:
    """[start, end) of the clips of one sequence; a snippet may begin or end sooner.

    A clip is a labelled frame with ``before`` frames before it and ``after`` behind it;
    overlapping and adjoining clips are one.
    """
    found: list[list[int]] = []
    for number in sorted(labelled):
        there = [k for k in range(number - before, number + after + 1) if k in present] + [number]
        start, end = min(there), max(there) + 1
        if found and start <= found[-1][1]:
            found[-1][1] = max(end, found[-1][1])
        else:
            found.append([start, end])
    return found


def require_frames(start: int, end: int, present: dict[int, int], name: str) -> None:
    """Raises FileNotFoundError if a frame of a clip is not there; ``name`` has a {number}."""
    missing = [k for k in range(start, end) if k not in present]
    if missing:
        raise FileNotFoundError(
            f"{name.format(number=f'{missing[0]:06d}')} is missing, but labels or neighbouring "
            "frames are there; unpack leftImg8bit_sequence_trainvaltest completely, or list other "
            "frames in ann_file."
        )
