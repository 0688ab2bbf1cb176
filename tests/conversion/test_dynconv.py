"""The laws of a gated network."""

import copy
import pickle

import pytest
import torch
from torch import nn

from mmdyn.conversion import DynConvConfig, convert_model, restore_model, runtime_of
from mmdyn.conversion.dynconv_runtime import gates_of
from tests.conversion.gated_networks import executing, gated, images, network

TILES = [1, 2, 4, dict(layer1=4, layer2=1)]


def run(net, x=None):
    with torch.no_grad():
        return net(images() if x is None else x)


def test_a_budget_of_one_is_the_stock_network_bit_for_bit():
    wanted = run(network())
    for mode in ("auto", "sparse", "dense"):
        assert torch.equal(run(gated(budget=1.0, execution=mode)), wanted)
    net, stock = gated(budget=1.0).train(), network().train()
    assert torch.equal(net(images()), stock(images()))
    loss = runtime_of(net).losses["loss_sparsity"]
    assert loss.requires_grad and float(loss.detach()) == 0.0


@pytest.mark.parametrize("tile", TILES, ids=str)
@pytest.mark.parametrize("mode", ["sparse", "dense"])
def test_open_gates_are_the_stock_network(tile, mode):
    net = gated(tile=tile, execution=mode)
    for gate in gates_of(net):
        gate.threshold.fill_(-1e9)
    assert torch.allclose(run(net), run(network()), atol=1e-5)


@pytest.mark.parametrize("gate", ["conv1x1", "squeeze"])
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_sparse_is_masked_dense_is_the_masked_stock_forward(gate, tile):
    net = gated(gate=gate, tile=tile)
    sparse, stats = run(net), runtime_of(net).stats
    assert 0.1 < stats["executed_share"] < 0.95
    dense = run(executing(net, "dense"))
    assert runtime_of(net).stats["executed_share"] == pytest.approx(stats["executed_share"])
    with torch.enable_grad():
        stock = net(images()).detach()
    assert torch.allclose(sparse, dense, atol=1e-5) and torch.allclose(sparse, stock, atol=1e-5)
    for gate_ in gates_of(net):  # and the masks do something
        gate_.threshold.fill_(-1e9)
    assert not torch.allclose(run(net), sparse, atol=1e-3)


def test_tiles_by_parts_of_paths():
    net = gated(tile={"layer1.0": 2, "layer": 4})
    assert [gate.tile for gate in gates_of(net)] == [2, 4, 4, 4, 4, 4]
    with pytest.raises(ValueError, match=r"layer2\.0, layer2\.1, layer2\.2 have no tile"):
        gated(tile=dict(layer1=2))
    with pytest.raises(ValueError, match="no gated block takes layer2, stage4 first"):
        gated(tile=dict(layer=2, layer2=1, stage4=1))
    net = gated(tile=dict(layer1=2), skip=("layer2",))
    assert [gate.tile for gate in gates_of(net)] == [2, 2, 2]


def test_a_batch_is_its_images_one_by_one():
    net, x = gated(), images(3)
    together = run(net, x)
    for k in range(3):
        assert torch.allclose(run(net, x[k : k + 1]), together[k : k + 1], atol=1e-5)


def test_restored_it_is_the_stock_model_bit_for_bit():
    net, stock = network(), network()
    keys = list(stock.state_dict())
    gated(net)
    assert [k for k in net.state_dict() if "dynconv_gate" not in k] == keys
    run(net)
    restore_model(net)
    assert list(net.state_dict()) == keys and type(net) is type(stock)
    assert [type(m) for m in net.modules()] == [type(m) for m in stock.modules()]
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())
    assert torch.equal(run(net), run(stock))


@pytest.mark.parametrize("kind", ["DCN", "DCNv2"])
def test_dense_blocks_with_compiled_operators_follow_gated_ones(kind):
    pytest.importorskip("mmcv.ops")
    pytest.importorskip("mmdet")
    from mmdet.models.backbones import ResNet

    dcn = dict(type=kind, deform_groups=1, fallback_on_stride=False)
    net = ResNet(50, base_channels=8, dcn=dcn, stage_with_dcn=(False, True, False, True))
    net.eval()
    x = torch.randn(1, 3, 128, 128)
    hooks = [len(m._forward_pre_hooks) for m in net.modules()]
    wanted = run(net, x)
    assert convert_model(net, DynConvConfig(execution="sparse")).modules == 9
    for gate in gates_of(net):
        gate.threshold.fill_(-1e9)
    for _ in range(2):
        for found, stock in zip(run(net, x), wanted):
            assert torch.allclose(found, stock, rtol=1e-4, atol=1e-4)
    restore_model(net)
    assert [len(m._forward_pre_hooks) for m in net.modules()] == hooks
    assert all(torch.equal(a, b) for a, b in zip(run(net, x), wanted))


def test_a_stock_checkpoint_misses_the_gates_alone():
    missing, unexpected = gated().load_state_dict(network(3).state_dict(), strict=False)
    assert not unexpected and missing and all("dynconv_gate" in name for name in missing)


def test_the_gradient_of_the_gates_agrees_with_differences_of_the_soft_network(monkeypatch):
    """With soft decisions the whole path from a gate's weight to the loss is smooth."""
    from mmdyn.conversion import dynconv_runtime

    def soft(logits, temperature, noise):
        return torch.sigmoid(logits / temperature)

    monkeypatch.setattr(dynconv_runtime, "binary_gumbel", soft)
    net = gated(budget=0.3).double().train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    x, gate = images().double(), gates_of(net)[1]

    def loss():
        out = net(x).square().sum()
        return out + runtime_of(net).losses["loss_sparsity"]

    loss().backward()
    step = 1e-6
    with torch.no_grad():
        for k in (0, 5):
            values = gate.weight.view(-1)
            values[k] += step
            up = float(loss())
            values[k] -= 2 * step
            down = float(loss())
            values[k] += step
            numeric = (up - down) / (2 * step)
            assert float(gate.weight.grad.view(-1)[k]) == pytest.approx(numeric, rel=1e-4)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_live_their_own_lives(copied):
    net = gated()
    wanted = run(net)
    twin = copied(net)
    assert torch.equal(run(twin), wanted)
    assert runtime_of(twin) is not runtime_of(net)
    state = runtime_of(twin.layer1[0])
    assert state.owner is runtime_of(twin)
    twin.train()(images()).sum().backward()
    assert all(p.grad is None for p in net.parameters())
    with torch.no_grad():
        twin.eval().layer1[0].conv1.weight.mul_(1.1)
    assert torch.equal(run(net), wanted) and not torch.equal(run(twin), wanted)


def test_bfloat16_autocast_trains_and_runs():
    net = gated().train()
    with torch.autocast("cpu", torch.bfloat16):
        out = net(images())
    (out.float().square().sum() + runtime_of(net).losses["loss_sparsity"]).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in net.parameters())
    net.eval()
    with torch.autocast("cpu", torch.bfloat16):
        sparse = run(net).float()
        dense = run(executing(net, "dense")).float()
    assert torch.allclose(sparse, dense, atol=0.1)
    assert torch.allclose(sparse, run(net), atol=0.3)


def test_gates_of_frozen_stages_learn_and_their_weights_do_not():
    net = network()
    net.layer1.requires_grad_(False)
    gated(net)
    freeze = type(net).mmdyn_host.train

    def train(self, mode=True):  # as ResNets do
        freeze(self, mode)
        self.layer1.eval()
        self.layer1.requires_grad_(False)
        return self

    type(net).mmdyn_host.train = train
    try:
        net.train()
    finally:
        type(net).mmdyn_host.train = freeze
    assert not net.layer1[0].bn1.training
    net(images()).sum().backward()
    assert all(p.grad is None for n, p in net.layer1.named_parameters() if "dynconv" not in n)
    assert all(g.weight.grad is not None and g.training for g in gates_of(net))
    stock = network()
    stock.layer1.requires_grad_(False)
    assert len(gates_of(gated(stock, gate_frozen=False))) == 3


def test_a_network_without_blocks_is_refused():
    with pytest.raises(ValueError, match="found none"):
        convert_model(nn.Sequential(nn.Conv2d(3, 3, 1)), DynConvConfig())


def test_strict_refuses_a_block_that_it_cannot_gate_until_skip_names_it():
    def net():
        net = network()
        net.layer1[1].bn1 = nn.GroupNorm(2, 8)
        return net

    report = convert_model(net(), DynConvConfig())
    assert [site.path for site in report.dense] == ["layer1.1"]
    with pytest.raises(ValueError, match=r"layer1\.1: its bn1 is a GroupNorm.*skip"):
        convert_model(net(), DynConvConfig(strict=True))
    assert convert_model(net(), DynConvConfig(strict=True, skip=("layer1.1",))).modules == 5


def test_a_part_of_a_converted_network_is_not_converted_again():
    net = gated()
    with pytest.raises(ValueError, match="restore_model"):
        convert_model(net.layer1, DynConvConfig())


@pytest.mark.parametrize(
    ("name", "size", "blocks", "macs"),
    [("CIFARResNet", 32, 15, 68_419_584), ("MobileHourglass", 256, 57, 6_157_430_784)],
)
def test_the_gated_arithmetic_is_that_of_the_published_networks(name, size, blocks, macs):
    """ResNet-32 and the four-stack hourglass of width 96: what DynConv calls conditional."""
    from mmdyn.registry import MODELS

    kinds = {"CIFARResNet": dict(depth=32), "MobileHourglass": dict(num_joints=16, width=96)}
    net = MODELS.build(dict(type=f"mmdyn.{name}", **kinds[name])).eval()
    report = convert_model(net, DynConvConfig(budget=0.5, execution="dense"))
    assert report.modules == blocks and not report.dense
    run(net, torch.randn(1, 3, size, size))
    assert runtime_of(net).totals[2] == macs


def test_a_gate_frozen_on_purpose_stays_frozen():
    net = gated()
    for gate in gates_of(net)[:2]:
        gate.requires_grad_(False)
    net.layer1[1].requires_grad_(False)  # a frozen stage, whose gate learns
    net.train()
    learns = [gate.weight.requires_grad for gate in gates_of(net)]
    assert learns == [False] + [True] * 5


def test_gates_of_a_frozen_network_stay_as_they_are():
    net = gated().requires_grad_(False)
    net.train()
    assert not any(p.requires_grad for p in net.parameters())
    gates_of(net)[1].requires_grad_(True)  # one alone learns
    net.train()
    assert [g.weight.requires_grad for g in gates_of(net)] == [False, True] + [False] * 4
    net.head.requires_grad_(True)  # as of a network whose stages are all frozen
    net.train()
    assert all(g.weight.requires_grad for g in gates_of(net))


def test_gates_of_a_host_that_freezes_all_its_stages_learn():
    class Frozen(type(network())):
        def train(self, mode=True):
            super().train(mode)
            return self.requires_grad_(False)

    net = network()
    net.__class__ = Frozen
    gated(net.train()).train()
    assert all(p.requires_grad == ("dynconv" in n) for n, p in net.named_parameters())
