"""Channels-last for any config."""

import copy

import pytest
import torch
from torch import nn

from mmdyn import BlockCopyConfig, convert_model, restore_model
from mmdyn.blocks import Tracker
from mmdyn.conversion import tracking
from mmdyn.engine import ChannelsLastHook
from mmdyn.engine.memory_format import to_channels_last


class Runner:
    def __init__(self) -> None:
        self.model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))


def test_parameters_of_four_dimensions_become_channels_last_and_keep_their_values():
    runner = Runner()
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    ChannelsLastHook().before_train(runner)
    assert runner.model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(v, before[k]) for k, v in runner.model.state_dict().items())


class Regions(nn.Module):
    """A convolution and RoIAlign on what it gives."""

    def __init__(self) -> None:
        super().__init__()
        from mmcv.ops import RoIAlign

        self.conv, self.align = nn.Conv2d(3, 8, 3, padding=1), RoIAlign((3, 3), 1.0, 0)

    def forward(self, x):
        rois = torch.tensor([[0.0, 2.0, 3.0, 15.0, 14.0], [0.0, 1.0, 1.0, 9.0, 20.0]])
        return self.align(self.conv(x), rois)


@pytest.fixture
def regions() -> nn.Module:
    pytest.importorskip("mmcv.ops")
    return Regions().eval()


def test_compiled_operators_get_their_own_order(regions):
    x = torch.randn(1, 3, 20, 30)
    wanted = regions(x)
    twin = copy.deepcopy(to_channels_last(regions))
    to_channels_last(twin)  # again, as each validation does
    assert len(twin.align._forward_pre_hooks) == 1
    image = x.contiguous(memory_format=torch.channels_last)
    for model in (regions, twin):
        assert torch.allclose(model(image), wanted, atol=1e-5)


def test_blockcopy_on_it_and_off_again_leaves_it_right(regions):
    x = torch.randn(1, 3, 64, 64)
    wanted = regions(x)
    to_channels_last(regions)
    convert_model(regions, BlockCopyConfig(policy="all", block_size=32), trial=False)
    assert torch.allclose(regions(x), wanted, atol=1e-5)
    restore_model(regions)
    image = x.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(regions(image), wanted, atol=1e-5)


class Sampler(nn.Module):
    """Calls a compiled operator in a method of its own, as mmdet's TOODHead does."""

    def sample(self, x):
        return x.is_contiguous()

    def forward(self, x):
        return self.sample(x)


def test_methods_with_compiled_operators_are_kept_in_order_through_a_conversion(monkeypatch):
    monkeypatch.setitem(tracking._COMPILED_METHODS, "Sampler", ("sample",))
    image = torch.randn(1, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    model = nn.Sequential(Sampler())
    assert not model(image)
    to_channels_last(model)
    assert model(image)
    tracking.attach(model, Tracker())
    tracking.detach(model)
    assert model(image)
