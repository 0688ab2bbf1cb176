"""A network converted twice, with replay and without, and frames for both."""

from __future__ import annotations

import copy

import torch
from torch import nn

from mmdyn.conversion.dynamic import runtime_of
from tests.conversion.networks import converted, network

FRAMES = 16


class Host(nn.Module):
    """A network inside a network: its `net` is the segment."""

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = net or network()

    def forward(self, x):
        return self.net(x)


def pair_of(net: nn.Module, **options) -> tuple[nn.Module, nn.Module]:
    """The same network converted with and without replay."""
    net = Host(net).eval()
    options = {"policy": "frame_difference", "budget": 0.5, **options}
    return converted(copy.deepcopy(net), **options), converted(net, replay=False, **options)


def replayed(model: nn.Module) -> int:
    return model.net.__dict__["forward"].replayer.replayed


def run_both(pair, frames, autocast: bool = False) -> None:
    for frame in frames:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            outs = [model(frame.clone()) for model in pair]
        assert torch.equal(*outs)
        stats = [runtime_of(model).stats for model in pair]
        assert stats[0]["gmacs"] == stats[1]["gmacs"] > 0
        assert stats[0]["dense_gmacs"] == stats[1]["dense_gmacs"]
