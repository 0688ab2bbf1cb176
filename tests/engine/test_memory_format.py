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
from mmdyn.ops import rois


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


class Pooled(nn.Module):
    """A compiled operator of mmcv that is none of mmdyn's: the highest of each region."""

    def __init__(self) -> None:
        super().__init__()
        from mmcv.ops import RoIAlign

        self.align = type("Highest", (RoIAlign,), {})((3, 3), 1.0, 0, pool_mode="max")

    def forward(self, x):
        return self.align(x, torch.tensor([[0.0, 2.0, 3.0, 15.0, 14.0]]))


def test_compiled_operators_get_their_own_order():
    pytest.importorskip("mmcv.ops")
    model = Pooled()
    x = torch.randn(1, 8, 20, 30)
    wanted = model(x)
    twin = copy.deepcopy(to_channels_last(model))
    to_channels_last(twin)  # again, as each validation does
    assert len(twin.align._forward_pre_hooks) == 1
    for one in (model, twin):
        assert torch.equal(one(x.contiguous(memory_format=torch.channels_last)), wanted)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The features that mmdyn's RoIAlign was called with."""
    calls: list[torch.Size] = []

    def noted(features, *rest):
        assert features.is_contiguous(memory_format=torch.channels_last)
        calls.append(features.shape)
        return rois.roi_align(features, *rest)

    monkeypatch.setattr(tracking, "roi_align", noted)
    return calls


def is_compiled() -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key("mmdyn::roi_align", "CPU")


def test_regions_are_read_where_they_lie(regions, served):
    x = torch.randn(1, 3, 20, 30)
    wanted = regions(x)
    twin = copy.deepcopy(to_channels_last(to_channels_last(regions)))
    image = x.contiguous(memory_format=torch.channels_last)
    for model in (regions, twin):
        with torch.no_grad():
            assert torch.allclose(model(image), wanted, atol=1e-5)
        learned = model(image)
        assert torch.allclose(learned, wanted, atol=1e-5) and learned.requires_grad
    assert len(served) == (2 if is_compiled() else 0)
    regions.align.pool_mode = "max"
    with torch.no_grad():
        highest = regions(image)
    assert (highest >= wanted - 1e-5).all() and not torch.allclose(highest, wanted)


def test_blockcopy_on_it_and_off_again_leaves_it_right(regions, served):
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = regions(x)
        to_channels_last(regions)
        convert_model(regions, BlockCopyConfig(policy="all", block_size=32), trial=False)
        assert torch.allclose(regions(x), wanted, atol=1e-5)
        restore_model(regions)
        image = x.contiguous(memory_format=torch.channels_last)
        assert torch.allclose(regions(image), wanted, atol=1e-5)
    assert len(served) == (2 if is_compiled() else 0)
    stock = Regions()
    convert_model(stock, BlockCopyConfig(policy="all", block_size=32), trial=False)
    restore_model(stock)
    assert "forward" not in vars(stock.align)


@pytest.mark.filterwarnings("ignore")
def test_a_trace_holds_the_operator_of_mmcv(regions, served):
    image = torch.randn(1, 3, 20, 30).contiguous(memory_format=torch.channels_last)
    to_channels_last(regions)
    with torch.no_grad():
        wanted = regions(image)
        traced = torch.jit.trace(regions, image, check_trace=False)
        assert torch.allclose(traced(image), wanted, atol=1e-5)
        assert torch.allclose(torch.compile(regions, backend="eager")(image), wanted, atol=1e-5)
    assert "mmdyn::" not in str(traced.inlined_graph) and len(served) == (1 if is_compiled() else 0)


def test_channels_last_after_a_conversion_outlives_it(regions):
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = regions(x)
        convert_model(regions, BlockCopyConfig(policy="all", block_size=32), trial=False)
        twin = copy.deepcopy(to_channels_last(to_channels_last(regions)))
        image = x.contiguous(memory_format=torch.channels_last)
        for model in (regions, twin):
            restore_model(model)
            assert torch.allclose(model(image), wanted, atol=1e-5)


@pytest.mark.parametrize("last", [True, False])
def test_a_forward_of_somebody_else_stays(regions, last):
    x = torch.randn(1, 3, 64, 64)
    wanted = regions(x).detach()
    stock, calls = regions.align.forward, []

    def own(input, rois):
        calls.append(input)
        return stock(input, rois)

    regions.align.forward = own
    image = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        if last:
            assert torch.allclose(to_channels_last(regions)(image), wanted, atol=1e-5)
        convert_model(regions, BlockCopyConfig(policy="all", block_size=32), trial=False)
        assert torch.allclose(regions(image), wanted, atol=1e-5)
        restore_model(regions)
    assert len(calls) == (2 if last else 1) and regions.align.forward is own


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
    model = nn.Sequential(Sampler())
    tracking.attach(model, Tracker())
    to_channels_last(model)
    tracking.detach(model)
    assert model(image)
