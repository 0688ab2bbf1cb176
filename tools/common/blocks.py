"""Stock networks on blocks with a fixed share executed, as the benchmarks time them."""

from __future__ import annotations

import argparse

import torch

import mmdyn
from mmdyn.conversion import runtime_of


def block_size(words: list[str]) -> int | tuple[int, int] | str:
    """What ``--block-size`` means."""
    if words == ["auto"]:
        return "auto"
    if len(words) > 2 or not all(word.isdecimal() for word in words):
        raise ValueError(
            f"--block-size takes a side, a height and a width, or auto, got {' '.join(words)}"
        )
    sides = [int(word) for word in words]
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def config_of(args: argparse.Namespace, active: float, size):
    """What the network is converted to."""
    if args.method == "segblocks":
        return mmdyn.SegBlocksConfig(budget=active, block_size=size, policy=args.policy)
    return mmdyn.BlockCopyConfig(
        budget=active, block_size=size, policy=args.policy, scene_cut=1e9, refresh=None,
        max_age=10**6, dense_fallback=False,
    )  # fmt: skip


class FixedCount:
    """Stands in for the budget's controller: every frame runs the same number of cells."""

    def __init__(self, share: float) -> None:
        self.share = share

    def cells(self, total: int, forced: int = 0) -> int:
        return max(round(self.share * total), 1)

    def observe(self, executed: int, total: int) -> None:
        """Nothing to balance."""

    def reset(self) -> None:
        """Nothing to forget."""


def streams_of(core) -> list:
    """The states of its streams, if its method has any."""
    streams = getattr(runtime_of(core), "streams", None)
    return [] if streams is None else list(streams.states.values())


def first_output(out) -> torch.Tensor:
    while isinstance(out, (tuple, list)):
        out = out[0]
    return out.float()
