"""Mixed precision without an accelerator."""

import pytest
import torch
from torch import nn

from mmdyn.conversion import restore_model
from mmdyn.engine import optim
from mmdyn.engine.optim import AutocastOptimWrapper, Float32Conv2d, keep_depthwise_float32
from tests.blocks.clips import assert_close
from tests.conversion.networks import clip, converted


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
        self.narrow = nn.Conv2d(8, 8, 3, padding=1, groups=8)

    def forward(self, x):
        return self.narrow(self.depthwise(self.stem(x)))


def test_dilated_depthwise_convolutions_stay_float32_and_others_do_not():
    net, keys = Net(), list(Net().state_dict())
    assert keep_depthwise_float32(net) == 1 and keep_depthwise_float32(net) == 0
    assert type(net.depthwise) is Float32Conv2d and type(net.narrow) is nn.Conv2d
    assert list(net.state_dict()) == keys
    with torch.autocast("cpu", torch.bfloat16):
        x = net.stem(torch.randn(1, 3, 16, 16))
        assert x.dtype == torch.bfloat16
        y = net.depthwise(x)
        assert y.dtype == torch.float32
        assert net.narrow(y).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_a_trained_model_may_change_its_type(dtype):
    net = Net()
    keep_depthwise_float32(net)
    assert net.to(dtype)(torch.randn(1, 3, 16, 16, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("lower", [True, False], ids=["bfloat16", "emulated"])
def test_a_training_step_leaves_float32_weights_that_learnt(lower, monkeypatch):
    monkeypatch.setattr(optim, "has_bfloat16", lambda device: lower)
    said = []
    monkeypatch.setattr(optim, "print_log", lambda text, **kwargs: said.append(text))
    net = Net()
    wrapper = AutocastOptimWrapper(torch.optim.SGD(net.parameters(), 0.1))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with wrapper.optim_context(net):
        out = net(torch.randn(2, 3, 16, 16))
    assert out.dtype == (torch.bfloat16 if lower else torch.float32)
    wrapper.update_params(out.float().square().mean())
    with wrapper.optim_context(net):
        pass
    assert len(said) == (0 if lower else 1)
    for name, value in net.state_dict().items():
        assert value.dtype == torch.float32 and not torch.equal(value, before[name]), name
        assert bool(torch.isfinite(value).all())


def test_a_model_trained_so_runs_on_blocks_and_restores():
    net, stock, image = Net().eval(), Net().eval(), clip(1)[0]
    keep_depthwise_float32(net)
    stock.load_state_dict(net.state_dict())
    converted(net, policy="all")
    with torch.no_grad():
        assert_close(net(image), stock(image))
    assert type(restore_model(net).depthwise) is Float32Conv2d
