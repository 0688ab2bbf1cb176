"""Convolutions that read one map keep its rings once, and never somebody else's."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmdyn.blocks.shared_rings import SharedRings
from mmdyn.conversion import runtime_of
from tests.blocks.clips import assert_close
from tests.conversion.networks import clip, converted, share
from tests.conversion.replays import FRAMES, Host


def conv(dilation: int = 1, inputs: int = 8) -> nn.Conv2d:
    return nn.Conv2d(inputs, 8, 3, padding=dilation, dilation=dilation)


class Branches(nn.Module):
    """Several convolutions of one map, which something may happen to in between."""

    def __init__(self, between=None, dilations=(1, 1, 1)) -> None:
        super().__init__()
        self.stem = conv(inputs=3)
        self.branches = nn.ModuleList(conv(d) for d in dilations)
        self.between = between

    def forward(self, x):
        x = F.relu(self.stem(x))
        outs = []
        for branch in self.branches:
            outs.append(branch(x))
            if self.between is not None:
                x = self.between(x)
        return sum(outs)


def stores(net: nn.Module) -> list[str]:
    """Where rings are kept."""
    return [k for k in runtime_of(net).memory._entries if "conv2d" in k]


def build(net: nn.Module, **options) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    stock = copy.deepcopy(net).eval()
    return stock, converted(net.eval(), **options)


@torch.no_grad()
def check(stock, net, frames) -> None:
    """All blocks give the dense network; replayed and not, some blocks give the same."""
    plain = copy.deepcopy(stock)
    plain = converted(plain, budget=0.5, replay=False)
    some = converted(copy.deepcopy(stock), budget=0.5)
    for image in frames:
        assert_close(net(image), stock(image))
        assert torch.equal(plain(image), some(image))
    assert share(some) < 1.0


@pytest.mark.parametrize("wrap", [lambda net: net, Host])
def test_one_store_serves_all_branches(wrap):
    stock, net = build(wrap(Branches()), policy="all")
    check(stock, net, clip(FRAMES))
    assert len(stores(net)) == 2  # the stem's and one for three


@pytest.mark.parametrize("wrap", [lambda net: net, Host])
@pytest.mark.parametrize(
    "between", [lambda x: x.mul_(-0.5), lambda x: F.relu(x - 0.3, inplace=True)]
)
def test_a_map_that_is_written_has_rings_of_its_own(wrap, between):
    stock, net = build(wrap(Branches(between)), policy="all")
    check(stock, net, clip(FRAMES))
    assert len(stores(net)) == 4


def test_other_rings_are_other_stores():
    stock, net = build(Branches(dilations=(1, 2, 1)), policy="all")
    check(stock, net, clip(FRAMES))
    assert len(stores(net)) == 3


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        return self.conv(x)


class Skipping(nn.Module):
    """Two modules that are replayed each by itself; the first is left out now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second = conv(inputs=3), Deep(), Deep()
        self.skips = False

    def forward(self, x):
        x = F.relu(self.stem(x))
        if self.skips:
            return self.second(x)
        return self.first(x) + self.second(x)


@torch.no_grad()
def test_what_is_replayed_by_itself_keeps_its_own_rings(monkeypatch):
    stock, net = build(Skipping(), policy="all")
    some = converted(copy.deepcopy(stock), budget=0.5)
    apart = converted(copy.deepcopy(stock), budget=0.5, replay=False)
    for t, image in enumerate(clip(3 * FRAMES)):
        for model in (stock, net, some, apart):
            model.skips = t > FRAMES and t % 5 == 0
        assert_close(net(image), stock(image))
        with monkeypatch.context() as patch:
            patch.setattr(SharedRings, "find", lambda *args: None)
            wanted = apart(image)
        assert torch.equal(some(image), wanted)
        assert share(some) == share(apart)
    assert len(stores(some)) == 3


@torch.no_grad()
def test_a_branch_that_is_left_out_takes_no_old_rings():
    stock, _ = build(Skipping())
    net = converted(copy.deepcopy(stock), budget=0.5, replay=False)
    for t, image in enumerate(clip(12)):
        net.skips = stock.skips = t == 8
        out = net(image)
        if t in (8, 9):  # the store was the first's, and is old in the frame after
            assert share(net) == 1.0
            assert_close(out, stock(image))
    assert share(net) < 1.0


class Enlarging(nn.Module):
    """One map, convolved and enlarged."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.stem, self.conv, self.first = conv(inputs=3), conv(), first

    def forward(self, x):
        x = F.relu(self.stem(x))
        enlarge = partial(F.interpolate, scale_factor=2, mode="bilinear")
        if self.first:
            large = enlarge(x)
            return F.avg_pool2d(large, 2) + self.conv(x)
        return self.conv(x) + F.avg_pool2d(enlarge(x), 2)


@pytest.mark.parametrize("first", [True, False])
@torch.no_grad()
def test_halves_that_are_enlarged_for_their_neighbours_are_not_shared(monkeypatch, first):
    stock, net = build(Enlarging(first), budget=0.3, half_budget=0.5)
    apart = converted(copy.deepcopy(stock), budget=0.3, half_budget=0.5)
    for image in clip(8):
        with monkeypatch.context() as patch:
            patch.setattr(SharedRings, "find", lambda *args: None)
            wanted = apart(image)
        assert torch.equal(net(image), wanted)
