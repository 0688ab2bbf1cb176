"""A fingerprint holds while a module is left alone, and notices what people do to modules."""

from __future__ import annotations

import functools
import logging
import threading
import types
from collections import OrderedDict, deque
from enum import Enum

import numpy as np
import pytest
import torch
from torch import nn

from mmdyn.conversion.fingerprint import Fingerprint


class Slotted:
    __slots__ = ("gain", "unset")

    def __init__(self) -> None:
        self.gain = 1


class Kind(Enum):
    A = 1


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.slope, self.anchors, self.scale = 0.5, [1, 2], torch.ones(3)
        self.table = np.ones(3)
        self.kept = {
            "list": [[1]], "set": {1}, "deque": deque([{"a": 1}]), "ordered": OrderedDict(a=1),
            "slots": Slotted(), "object": types.SimpleNamespace(inner=[1]), "bytes": b"",
            "partial": functools.partial(print, end=[1]), "tuple": ([1], None), "kind": Kind.A,
            "logger": logging.getLogger(__name__), "size": torch.Size([1]), "type": torch.float32,
            "held": [nn.Linear(1, 1)], "tensors": [torch.ones(1)], "function": torch.relu,
            "chance": [np.random.RandomState(0), np.random.default_rng(), torch.Generator()],
        }  # fmt: skip
        self.kept["me"], self.kept["method"] = self, self.kept["object"].inner.append


def replace_parameter(net):
    net.conv.weight = nn.Parameter(net.conv.weight.detach() + 1)


def replace_array(net):
    net.table = np.zeros(3)


CHANGES = [
    lambda net: setattr(net, "slope", 0.25),
    lambda net: setattr(net, "extra", 1),
    lambda net: net.anchors.append(3),
    lambda net: setattr(net, "scale", torch.zeros(3)),
    lambda net: net.norm.train(),
    lambda net: setattr(net, "norm", nn.Identity()),
    lambda net: net.conv.register_forward_hook(lambda *args: None),
    lambda net: net.conv.register_forward_pre_hook(lambda *args: None),
    lambda net: net.norm.register_buffer("running_mean", torch.ones(4)),
    replace_parameter,
    replace_array,
    lambda net: net.table.fill(2),
    lambda net: net.kept.pop("list"),
    lambda net: net.kept["list"][0].append(1),
    lambda net: net.kept["set"].add(2),
    lambda net: net.kept["deque"][0].update(a=2),
    lambda net: net.kept["ordered"].update(b=1),
    lambda net: setattr(net.kept["slots"], "unset", 1),
    lambda net: net.kept["object"].inner.clear(),
    lambda net: net.kept["partial"].keywords["end"].append(1),
    lambda net: net.kept["tuple"][0].append(1),
    lambda net: net.kept["held"][0].register_forward_hook(print),
    lambda net: setattr(net.kept["held"][0], "weight", nn.Parameter(torch.ones(1, 1))),
    lambda net: net.kept["tensors"].append(1),
    lambda net: net.kept.update(list=net.kept["list"] * 2),
]


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_noticed(change):
    net = Parts().eval()
    fingerprint = Fingerprint(net, lambda hook: False)
    assert fingerprint.holds()
    change(net)
    assert not fingerprint.holds()


def test_values_of_tensors_may_move():
    net = Parts().eval()
    fingerprint = Fingerprint(net, lambda hook: False)
    with torch.no_grad():
        net.conv.weight.add_(1)
        net.norm.running_mean.fill_(2)
    assert fingerprint.holds()
    assert fingerprint.tensors[id(net.conv.weight)] is net.conv.weight
    assert id(net.scale) in fingerprint.tensors


def test_hooks_of_others_are_named():
    net = Parts()
    net.register_forward_hook(lambda *args: None)  # on the module itself: runs in any case
    assert not Fingerprint(net, lambda hook: False).alien
    net.norm.register_forward_hook(lambda *args: None)
    assert "BatchNorm2d" in Fingerprint(net, lambda hook: False).alien
    assert not Fingerprint(net, lambda hook: True).alien


def test_what_changes_unseen_is_named():
    for thing in (threading.Lock(), iter([1]), np.ones(5000), bytearray(1)):
        net = Parts()
        net.kept["object"].thing = thing
        alien = Fingerprint(net, lambda hook: True).alien
        assert "Parts.kept" in alien and type(thing).__name__ in alien


def test_too_much_and_too_deep_are_named():
    net, nest = Parts(), []
    for _ in range(30):
        nest = [nest]
    for value in (nest, [[i] for i in range(30_000)]):
        net.extra = value
        assert "more below Parts.extra" in Fingerprint(net, lambda hook: True).alien


def test_tensors_of_containers_are_known():
    net = Parts()
    (tensor,) = net.kept["tensors"]
    assert Fingerprint(net, lambda hook: True).tensors[id(tensor)] is tensor


def test_classes_are_watched(monkeypatch):
    net = Parts()
    fingerprint = Fingerprint(net, lambda hook: True)
    monkeypatch.setattr(nn.BatchNorm2d, "forward", lambda self, x: x)
    assert not fingerprint.holds()
    monkeypatch.undo()
    assert fingerprint.holds()
    monkeypatch.setattr(Parts, "gain", 1, raising=False)
    assert not fingerprint.holds()
