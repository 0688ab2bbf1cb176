"""The encoder is mmseg's ResNet, and the maps before the ReLU become those after it."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("mmseg")

from mmseg.models.backbones import ResNet

from mmdyn.conversion import DynConvConfig, convert_model, runtime_of
from mmdyn.conversion.dynconv_runtime import gates_of
from mmdyn.conversion.hosts import zoo
from mmdyn.models.swiftnet import SwiftNetResNet


def build(kind=SwiftNetResNet, **options):
    torch.manual_seed(0)
    net = kind(depth=options.pop("depth", 18), **options)
    net.eval()  # mmseg's own returns nothing
    zoo.randomise(net)
    return net


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("skips", ["post", "pre"])
def test_it_computes_what_the_stock_network_does(depth, skips):
    stock, ours = build(ResNet, depth=depth), build(depth=depth, skips=skips)
    ours.load_state_dict(stock.state_dict(), strict=True)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected, got = stock(image), ours(image)
    assert len(got) == 4
    for a, b in zip(got, expected):
        torch.testing.assert_close(a if skips == "post" else F.relu(a), b)
        assert (a < 0).any() == (skips == "pre")


def test_out_indices_count():
    assert len(build(skips="pre", out_indices=(1, 3))(torch.randn(1, 3, 64, 64))) == 2


@pytest.mark.parametrize(("skips", "gated"), [("post", 8), ("pre", 4)])
def test_only_blocks_that_it_calls_get_a_gate(skips, gated):
    net = build(skips=skips, base_channels=8)
    report = convert_model(net, DynConvConfig(budget=0.5), trial=False)
    assert len(report.gated) == gated
    assert all("skips='pre'" in site.reason for site in report.dense) and len(report.dense) < 5
    net.train()
    maps = net(torch.randn(2, 3, 64, 64))
    (sum(x.mean() for x in maps) + runtime_of(net).losses["loss_sparsity"]).backward()
    assert all(gate.weight.grad is not None for gate in gates_of(net))


def test_refusals():
    with pytest.raises(ValueError, match="skips is 'both'; choose 'post' or 'pre'"):
        SwiftNetResNet(depth=18, skips="both")
    with pytest.raises(ValueError, match="neither plugins nor with_cp"):
        SwiftNetResNet(depth=18, skips="pre", with_cp=True)
