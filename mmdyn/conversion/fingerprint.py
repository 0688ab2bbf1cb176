"""Notices that somebody changed a module: an attribute, a parameter, a child, a hook."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

_INNER = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks")


class Fingerprint:
    """What a module and its children held, by identity; their containers one level deep.

    Args:
        module: The module.
        is_ours: Whether a forward hook or attribute is the conversion's own.

    Attributes:
        tensors: Parameters, buffers and tensor attributes by id.
        alien: Why the module's Python must run; empty if it need not.
    """

    def __init__(self, module: nn.Module, is_ours: Callable[[object], bool]) -> None:
        self._dicts: list[dict] = []
        self._lists: list[list] = []
        self.alien = ""
        for child in module.modules():
            held = vars(child)
            self._dicts += [held, *(held[name] for name in _INNER)]
            self._lists += [value for value in held.values() if isinstance(value, list)]
            hooks = (*child._forward_hooks.values(), *child._forward_pre_hooks.values())
            if child is not module and not all(map(is_ours, hooks)):
                self.alien = f"a hook on {type(child).__name__}"
        self._then = self._now()
        self.tensors = {id(v): v for t in self._then for v in t if isinstance(v, Tensor)}

    def _now(self) -> list[tuple]:
        return [tuple(d.values()) for d in self._dicts] + [tuple(v) for v in self._lists]

    def holds(self) -> bool:
        """Whether nothing was set, replaced, added or removed since."""
        try:
            return self._now() == self._then
        except (RuntimeError, ValueError):  # another tensor or array: its == is no truth value
            return False
