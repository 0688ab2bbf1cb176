"""Builds policies from their names and keeps learned ones in files."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import torch

from mmdyn.registry import POLICIES, RESOLUTION_POLICIES

from .base import Policy
from .resolution import ResolutionPolicy

_FORMAT = "mmdyn policy 1"


def build_policy(spec: str | dict | Policy) -> Policy:
    """A policy from its name, from ``dict(type=name, **arguments)``, or the policy itself.

    With ``checkpoint=path`` among the arguments it starts from what `save_policy` wrote there.
    """
    if not isinstance(spec, dict) or "checkpoint" not in spec:
        return _build(spec, Policy, POLICIES)
    arguments = dict(spec)
    path = arguments.pop("checkpoint")
    policy = _build(arguments, Policy, POLICIES)
    return load_policy(path, policy, learning=policy.learning)


def build_resolution_policy(spec: str | dict | ResolutionPolicy) -> ResolutionPolicy:
    """Like `build_policy`, for the policies of SegBlocks."""
    return _build(spec, ResolutionPolicy, RESOLUTION_POLICIES)


def _build(spec, kind_of: type, registry):
    if isinstance(spec, kind_of):
        return spec
    arguments = {"type": spec} if isinstance(spec, str) else dict(spec)
    kind = arguments.pop("type", None)
    if kind is None:
        raise ValueError(f"a policy's dict needs its type, one of {sorted(registry.module_dict)}.")
    cls = registry.get(kind) if isinstance(kind, str) else kind
    if cls is None:
        raise KeyError(f"unknown policy {kind!r}; known: {sorted(registry.module_dict)}.")
    known = inspect.signature(cls).parameters
    unknown = [name for name in arguments if name not in known]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        raise ValueError(f"policy {kind!r} does not know {unknown}; it takes {list(known)}.")
    return cls(**arguments)


def save_policy(policy: Policy, path: str | os.PathLike) -> None:
    """Writes the policy's name, arguments and weights; not the optimizer's moments."""
    state = {key: value.detach().cpu() for key, value in policy.state_dict().items()}
    content = {"format": _FORMAT, "type": policy.name, "config": policy.config, "state": state}
    torch.save(content, os.fspath(path))


def load_policy(
    path: str | os.PathLike, policy: Policy | None = None, learning: bool = False
) -> Policy:
    """Reads a policy back: a new one, or its weights into ``policy``.

    Args:
        path: A file of ``save_policy``.
        policy: Takes the weights over if given; it keeps its own settings.
        learning: Mode of the policy returned. Default False: frozen.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file holds no policy, another kind of policy, or weights that do not fit.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no policy file at {path}; write one with save_policy.")
    try:
        content = torch.load(os.fspath(path), map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not a file of save_policy: {error}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{path} is not a file of save_policy; pass a policy, not a checkpoint.")
    kind = content["type"]
    if policy is None:
        policy = build_policy({"type": kind, **content["config"]})
    elif policy.name != kind:
        raise ValueError(
            f"{path} holds a {kind!r} policy, expected {policy.name!r}; "
            f"set the policy's type to {kind!r}."
        )
    try:
        policy.load_state_dict(content["state"])
    except RuntimeError as error:
        raise ValueError(
            f"the weights in {path} do not fit this policy; it was saved with {content['config']} "
            f"and this one has {policy.config}. {error}"
        ) from error
    policy.learning = learning
    return policy
