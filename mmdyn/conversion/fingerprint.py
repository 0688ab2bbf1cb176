"""Notices that somebody changed a module: an attribute, a parameter, a child, a hook, a class.

What a module refers to is followed through containers and objects once; after that, each container
found is compared with what it held then. Identity comes first in these comparisons, so that a frame
pays for a walk over short tuples and no more.
"""

from __future__ import annotations

import enum
import functools
import logging
import pathlib
import random
import re
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

_INNER = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks")
_OF_ALL = frozenset(vars(nn.Module()))  # the rest of these does not matter to a forward
_DEEPEST = 12  # steps from a module's attribute
_MOST = 20_000  # containers
_LARGEST = 4096  # bytes of an array, whose numbers are compared

_FIXED = (
    int, float, complex, str, bytes, type(None), type, enum.Enum, slice, range, re.Pattern,
    pathlib.PurePath, np.generic, np.dtype, np.ufunc, torch.dtype, torch.device, torch.layout,
    torch.memory_format, torch.Size, types.ModuleType, types.BuiltinFunctionType,
    types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType,
    type(Ellipsis), type(NotImplemented), logging.Logger, torch._ops.OpOverload,
    torch._ops.OpOverloadPacket,
    # What is drawn from these differs between two recordings.
    random.Random, np.random.RandomState, np.random.Generator, torch.Generator,
)  # fmt: skip
_OURS = ("mmdyn.conversion.", "mmdyn.blocks.", "mmdyn.video.")  # they know when they change
_GLOBAL_HOOKS = (torch_module._global_forward_hooks, torch_module._global_forward_pre_hooks)


def hooked_everywhere() -> bool:
    """Whether torch runs a forward hook with every module."""
    return any(_GLOBAL_HOOKS)


class Fingerprint:
    """What a module and its children held, by identity.

    Args:
        module: The module.
        is_ours: Whether a forward hook is the conversion's own.

    Attributes:
        tensors: Parameters, buffers and tensor attributes by id.
        alien: Why the module's Python must run; empty if it need not.
    """

    def __init__(self, module: nn.Module, is_ours: Callable[[object], bool]) -> None:
        self._found = _Found()
        self.alien = "a forward hook on all modules" if hooked_everywhere() else ""
        for child in module.modules():
            hooks = (*child._forward_hooks.values(), *child._forward_pre_hooks.values())
            if child is not module and not all(map(is_ours, hooks)):
                self.alien = f"a hook on {type(child).__name__}"
        self._found.follow(module)
        self.alien = self.alien or self._found.unknown
        self.tensors = self._found.tensors
        self._then = self._found.contents()

    def holds(self) -> bool:
        """Whether nothing was set, replaced, added or removed since."""
        try:
            return not hooked_everywhere() and self._found.contents() == self._then
        except (RuntimeError, ValueError):  # another tensor or array: its == is no truth value
            return False


class _Found:
    """The containers that a module leads to, by how they are read.

    Attributes:
        tensors: Met on the way, by id.
        unknown: What cannot be watched; empty if there is nothing.
    """

    def __init__(self) -> None:
        self.tensors: dict[int, Tensor] = {}
        self.unknown = ""
        self._namespaces: list = []  # dicts whose keys follow from their values, nearly always
        self._dicts: list[dict] = []
        self._ordered: list[OrderedDict] = []
        self._rows: list[list | deque] = []
        self._sets: list[set] = []
        self._cells: list[types.CellType] = []
        self._slots: list[tuple[object, tuple[str, ...]]] = []
        self._arrays: list[np.ndarray] = []
        self._seen: dict[int, object] = {}  # holds them, so that no id is used twice
        self._left: list[tuple[object, int, str]] = []

    def contents(self) -> tuple:
        """What all of them hold now."""
        return (
            [tuple(d.values()) for d in self._namespaces],
            [(tuple(d), tuple(dict.values(d))) for d in self._dicts],
            [tuple(d.items()) for d in self._ordered],
            [tuple(row) for row in self._rows],
            [frozenset(s) for s in self._sets],
            [_cell(c) for c in self._cells],
            [tuple([getattr(x, name, None) for name in names]) for x, names in self._slots],
            [(a.shape, a.dtype.str, a.tobytes()) for a in self._arrays],
        )

    def follow(self, value: object) -> None:
        """Notes what a value leads to."""
        self._left.append((value, 0, type(value).__name__))
        while self._left and not self.unknown:
            value, depth, name = self._left.pop()
            if isinstance(value, Tensor):
                self.tensors[id(value)] = value
                continue
            if isinstance(value, _FIXED) or type(value).__module__.startswith(_OURS):
                continue
            if id(value) in self._seen:
                continue
            self._seen[id(value)] = value
            if depth > _DEEPEST or len(self._seen) > _MOST:
                self.unknown = f"more below {name} than is watched"
            elif isinstance(value, nn.Module):
                self._module(value)
            elif not self._container(value, depth, name) and not self._object(value, depth, name):
                self.unknown = f"{name}, a {type(value).__name__}, may change unseen"

    def _go_on(self, values, depth: int, name: str) -> None:
        self._left += [(value, depth + 1, name) for value in values]

    def _class_of(self, value: object) -> None:
        for cls in type(value).__mro__[:-1]:
            if id(cls) not in self._seen:
                self._seen[id(cls)] = cls
                self._namespaces.append(vars(cls))

    def _module(self, module: nn.Module) -> None:
        held = vars(module)
        self._namespaces += [held, *(held[name] for name in _INNER)]
        self._class_of(module)
        for name, value in held.items():
            if name not in _OF_ALL:
                self._left.append((value, 1, f"{type(module).__name__}.{name}"))
        for inner in ("_parameters", "_buffers", "_modules"):
            self._go_on(held[inner].values(), 0, type(module).__name__)

    def _container(self, value, depth: int, name: str) -> bool:
        if isinstance(value, np.ndarray):
            if value.nbytes > _LARGEST or value.dtype.hasobject:
                return False
            self._arrays.append(value)
            return True
        if isinstance(value, dict):
            (self._ordered if isinstance(value, OrderedDict) else self._dicts).append(value)
            self._go_on((*dict.keys(value), *dict.values(value)), depth, name)
        elif isinstance(value, (list, deque)):
            self._rows.append(value)
            self._go_on(value, depth, name)
        elif isinstance(value, set):
            self._sets.append(value)
            self._go_on(value, depth, name)
        elif isinstance(value, (tuple, frozenset)):
            self._go_on(value, depth, name)
        else:
            return False
        if vars_of(value) is not None:
            self._object(value, depth, name)
        return True

    def _object(self, value, depth: int, name: str) -> bool:
        """Functions by what they close over, other objects by their attributes."""
        if isinstance(value, types.FunctionType):
            cells = value.__closure__ or ()
            self._cells += cells
            self._go_on(map(_cell, cells), depth, name)
            self._go_on((value.__defaults__, value.__kwdefaults__), depth, name)
        elif isinstance(value, types.MethodType):
            self._go_on((value.__self__, value.__func__), depth, name)
        elif isinstance(value, functools.partial):
            self._go_on((value.func, value.args, value.keywords), depth, name)
        elif isinstance(value, (staticmethod, classmethod)):
            self._go_on((value.__func__,), depth, name)
        elif isinstance(value, weakref.ref):
            self._go_on((value(),), depth, name)
        else:
            return self._attributes(value, depth, name)
        return True

    def _attributes(self, value, depth: int, name: str) -> bool:
        held, slots = vars_of(value), _slots_of(type(value))
        if held is None and not slots:
            return False
        self._class_of(value)
        if held is not None:
            self._dicts.append(held)
            self._go_on(held.values(), depth, name)
        if slots:
            self._slots.append((value, slots))
            self._go_on([getattr(value, slot, None) for slot in slots], depth, name)
        return True


def vars_of(value: object) -> dict | None:
    """The attributes of an object that keeps them in a dict."""
    held = getattr(value, "__dict__", None)
    return held if isinstance(held, dict) else None


def _slots_of(cls: type) -> tuple[str, ...]:
    named: list[str] = []
    for base in cls.__mro__:
        slots = vars(base).get("__slots__", ())
        named += (slots,) if isinstance(slots, str) else slots
    return tuple(name for name in named if not name.startswith("__"))


def _cell(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None
