"""What people change on a network between frames is followed, wherever it is kept."""

from __future__ import annotations

import copy
import types
from collections import deque

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook

import mmdyn
from tests.conversion.networks import Net, clip, network
from tests.conversion.replays import FRAMES, pair_of, replayed, run_both


def _add(net):
    with torch.no_grad():
        net.conv.weight.add_(0.1)


def _past_the_counters(net):
    net.conv.weight.data.mul_(1.5)


def _load(net):
    state = {k: v + 0.1 if v.is_floating_point() else v for k, v in net.state_dict().items()}
    net.load_state_dict(state, assign=True)


def _replace(net):
    net.gate = nn.Sequential(copy.deepcopy(net.gate), nn.Tanh())


def _hook(net):
    net.conv.register_forward_hook(lambda module, args, out: out * 2)


class Helper:
    """What a network keeps beside its modules."""

    def __init__(self) -> None:
        self.gain, self.inner = 1.0, types.SimpleNamespace(gain=1.0)


class Optioned(Net):
    """Reads numbers from wherever networks keep them."""

    shared = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.options, self.config = {"gain": 1.0, "mode": {"bilinear"}}, ConfigDict(a=dict(gain=1))
        self.nested, self.recent, self.helper = [[1.0]], deque([1.0]), Helper()
        self.table, gain = np.ones(2), [1.0]
        self.activate = lambda x: x * gain[0]
        self.gain = gain

    def forward(self, x):
        y = self.activate(self.head(self.features(x))) * self.options["gain"] * self.config.a.gain
        y = y * self.nested[0][0] * self.recent[0] * self.helper.gain * self.helper.inner.gain
        y = y * float(self.table[1]) * self.shared
        return F.interpolate(y, scale_factor=2, mode=next(iter(self.options["mode"])))


def _option(net):
    net.options["gain"] = 3.0


def _set(net):
    net.options["mode"].clear()
    net.options["mode"].add("nearest")


def _config(net):
    net.config.a.gain = 3.0


def _nested(net):
    net.nested[0][0] = 3.0


def _deque(net):
    net.recent.appendleft(3.0)


def _attribute_of_a_helper(net):
    net.helper.gain = 3.0


def _attribute_below_a_helper(net):
    net.helper.inner.gain = 3.0


def _array(net):
    net.table[1] = 3.0


def _closure(net):
    net.gain[0] = 3.0


CHANGES = [
    _add, _past_the_counters, _load, _replace, _hook, _option, _set, _config, _nested, _deque,
    _attribute_of_a_helper, _attribute_below_a_helper, _array, _closure,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_changes_between_frames_are_followed(change):
    pair = pair_of(network(Optioned), max_age=1)
    run_both(pair, clip(FRAMES))
    assert replayed(pair[0])
    before = pair[1](clip(1, seed=1)[0])
    for model in pair:
        change(model.net)
        mmdyn.reset(model)
    run_both(pair, clip(FRAMES, seed=1))
    mmdyn.reset(pair[1])
    assert not torch.equal(pair[1](clip(1, seed=1)[0]), before)


@pytest.mark.parametrize("name", ["forward", "shared"])
def test_changes_of_a_class_are_followed(name, monkeypatch):
    pair = pair_of(network(Optioned))
    run_both(pair, clip(FRAMES))
    forward = Optioned.forward
    new = {"forward": lambda self, x: forward(self, x) * 3, "shared": 3.0}[name]
    monkeypatch.setattr(Optioned, name, new)
    assert replayed(pair[0])
    for model in pair:
        mmdyn.reset(model)
    run_both(pair, clip(FRAMES))


def test_hooks_on_every_module_run():
    pair = pair_of(network())
    run_both(pair, clip(FRAMES))
    count = replayed(pair[0])
    head = [model.net.head for model in pair]
    hook = register_module_forward_hook(lambda m, args, out: out * 3 if m in head else None)
    try:
        run_both(pair, clip(FRAMES))
        assert replayed(pair[0]) == count
    finally:
        hook.remove()
    for model in pair:
        mmdyn.reset(model)
    run_both(pair, clip(FRAMES))
    assert replayed(pair[0]) > count
