"""Options of the benchmarks, checked before anything is measured: a bad one ends in one line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config

import mmdyn.compat
from common.models import read_config


def _number(kind: type, wanted: str, fits: Callable) -> Callable:
    """A function for argparse's `type` that takes only numbers that fit."""

    def parse(text: str):
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not fits(number):
            raise argparse.ArgumentTypeError(f"must be {wanted}, got {text!r}")
        return number

    return parse


count = _number(int, "a whole number from 1", lambda number: number >= 1)
count_or_none = _number(int, "a whole number from 0", lambda number: number >= 0)
positive = _number(float, "a number above 0", lambda number: 0.0 < number < math.inf)
share = _number(float, "a share from 0 to 1", lambda number: 0.0 <= number <= 1.0)


def output_file(text: str) -> str:
    """The path of a file that can be written; it is left as it is, and not made."""
    path, there = Path(text), Path(text).exists()
    try:
        path.open("a").close()
    except OSError as error:
        reason = error.strerror or error
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {reason}") from None
    if not there:
        path.unlink()
    return text


@contextmanager
def one_usage_error(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Ends the tool as a bad option does where what the options say cannot be built."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        parser.error(str(error.args[0]))


def check_stock_config(parser: argparse.ArgumentParser, path: str, options: dict) -> Config:
    """A stock config; ends the tool if there is no such config, or if it is not a stock one."""
    mmdyn.compat.prepare()
    try:
        cfg = read_config(path)
        cfg.merge_from_dict(options)
    except Exception as error:  # a config is code: it can fail in any way
        said = str(error).strip().splitlines() or [""]
        parser.error(f"config {path} cannot be read: {type(error).__name__}: {said[0]}")
    if "model" not in cfg:
        parser.error(f"config {path} has no model")
    if cfg.model.get("host"):
        parser.error(f"{path} has mmdyn's line in it; name the stock config it is made from")
    return cfg
