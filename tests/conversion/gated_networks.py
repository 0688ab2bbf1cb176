"""A small residual network, gated."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from mmdyn.conversion import DynConvConfig, convert_model, runtime_of
from mmdyn.conversion.dynconv_runtime import gates_of
from tests.gating.residual import Basic, Bottleneck, Inverted, randomised


class ResidualNet(nn.Module):
    """Every kind of block once, in stages, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        self.layer1 = nn.Sequential(Basic(), Basic(), Inverted())
        self.layer2 = nn.Sequential(Bottleneck(8, 8, 16, 2), Bottleneck(), Bottleneck(groups=2))
        self.head = nn.Linear(16, 4)

    def features(self, x):
        return self.layer2(self.layer1(self.stem(x)))

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


def network(seed: int = 0) -> nn.Module:
    """The same weights every time, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return randomised(ResidualNet()).eval()


def gated(net: nn.Module | None = None, **options) -> nn.Module:
    """`net` converted, sparse in evaluation, about half of the positions open."""
    net = network() if net is None else net
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        settings = dict(open_init=0.5, execution="sparse", noise_until=0.8)
        convert_model(net, DynConvConfig(**{**settings, **options}), trial=False)
        for gate in gates_of(net):
            gate.weight.data.mul_(3)
    runtime_of(net).progress = 0.0  # whatever a runner of another test did last
    return net


def images(count: int = 2, seed: int = 5) -> torch.Tensor:
    return torch.randn(count, 3, 17, 22, generator=torch.Generator().manual_seed(seed))


def executing(net: nn.Module, mode: str) -> nn.Module:
    """The network with another mode of execution."""
    runtime = runtime_of(net)
    runtime.config = replace(runtime.config, execution=mode)
    runtime.reset()
    return net
