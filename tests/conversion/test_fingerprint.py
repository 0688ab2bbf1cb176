"""A fingerprint holds while a module is left alone, and notices what people do to modules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mmdyn.conversion.fingerprint import Fingerprint


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.slope, self.anchors, self.scale = 0.5, [1, 2], torch.ones(3)
        self.table = np.ones(3)


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
