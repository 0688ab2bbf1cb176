"""Which rule serves which torch function, and what happens where there is none."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache

import torch
from torch.utils._pytree import tree_map

RULES: dict[Callable, Callable] = {}
LAYOUT_RULES: dict[Callable, Callable] = {}  # for maps in another order of axes; take the function

_WRITES_SELF = {"__setitem__"} | {
    f"__i{name}__"
    for name in [
        "add",
        "sub",
        "mul",
        "matmul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "lshift",
        "rshift",
        "and",
        "xor",
        "or",
    ]
}


def implements(*functions: Callable | None):
    """Registers the decorated rule for torch functions, by identity; None is skipped."""

    def register(rule: Callable) -> Callable:
        for function in functions:
            if function is not None:
                RULES[function] = rule
        return rule

    return register


@cache
def takes(rule: Callable, positional: int, names: tuple[str, ...]) -> bool:
    """Whether a rule knows these arguments: torch has more names for some of them.

    Args:
        rule: To be called.
        positional: Number of arguments without a name.
        names: Of the others.
    """
    try:
        inspect.signature(rule).bind(*[None] * positional, **dict.fromkeys(names))
    except TypeError:
        return False
    return True


def _is_blocks(x: object) -> bool:
    return hasattr(x, "composite") and isinstance(x, torch.Tensor)


def first_blocks(args: object):
    """The first BlockTensor in nested arguments."""
    found = []
    tree_map(lambda x: found.append(x) if _is_blocks(x) else None, args)
    return found[0]


def _writes(func: Callable, kwargs: dict) -> bool:
    name = getattr(func, "__name__", "")
    in_place = name.endswith("_") and not name.startswith("__")
    return in_place or name in _WRITES_SELF or bool(kwargs.get("inplace")) or "out" in kwargs


def run_dense(func: Callable, args: tuple, kwargs: dict, reason: str):
    """Runs a function on the exact dense composites of its block arguments.

    A function that writes into its argument has the result written back into the blocks.
    """
    x, name = first_blocks((args, kwargs)), getattr(func, "__name__", str(func))
    x.frame.went_dense(name, reason)
    twins: list = []

    def to_dense(value):
        if not _is_blocks(value):
            return value
        for original, dense in twins:
            if original is value:
                return dense
        twins.append((value, value.dense(contiguous=True, op=name)))
        return twins[-1][1]

    dense_args, dense_kwargs = tree_map(to_dense, (args, kwargs))
    out = func(*dense_args, **dense_kwargs)
    if not _writes(func, kwargs):
        _tie_views(out, twins)
        return out
    for original, dense in twins:
        original.overwrite(dense)
    return tree_map(lambda value: _original_of(value, twins), out)


def _tie_views(out, twins: list) -> None:
    """A view of the dense copy stands for a view of the blocks: writes to one show in the other."""
    storages: set = set()
    tree_map(lambda v: storages.add(v.untyped_storage().data_ptr()) if _is_plain(v) else None, out)
    for original, dense in twins:
        shared = dense.untyped_storage().data_ptr() in storages
        if shared and hasattr(original, "tie") and not dense.requires_grad:
            original.tie(dense)


def _is_plain(x: object) -> bool:
    return isinstance(x, torch.Tensor) and not _is_blocks(x) and x.layout == torch.strided


def _original_of(value, twins: list):
    for original, dense in twins:
        if dense is value:
            return original
    return value
