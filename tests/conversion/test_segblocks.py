"""SegBlocks on any network: what all-full, all-half and mixed frames must equal."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmdyn import SegBlocksConfig, convert_model, restore_model
from mmdyn.blocks import Level, constants
from mmdyn.conversion import is_converted, runtime_of
from mmdyn.conversion.segblocks import SyncedNorm
from tests.blocks.clips import half_of
from tests.conversion.networks import Net, network

SIZE = (48, 64)


def converted(net: nn.Module | None = None, **options) -> nn.Module:
    net = network() if net is None else net
    convert_model(net, SegBlocksConfig(**{"block_size": 16, **options}), trial=False)
    return net


def images(count: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def close(got: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-5) -> bool:
    scale = wanted.detach().abs().max().clamp(min=1e-6)
    return bool((got - wanted).detach().abs().max() <= tolerance * scale)


def full_cells(net: nn.Module) -> torch.Tensor:
    return runtime_of(net).last_frame.grid.levels == Level.FULL


@pytest.mark.parametrize("training", [True, False])
def test_all_full_is_the_dense_network_with_gradients_and_statistics(training):
    stock, mine = network().double(), converted(network().double(), policy="all-full")
    stock.train(training), mine.train(training)
    x = images().double()
    for step in range(2):
        a, b = (x.clone().requires_grad_() for _ in range(2))
        wanted, got = stock(a), mine(b)
        (wanted**2).mean().backward(), (got**2).mean().backward()
        assert close(got, wanted) and close(b.grad, a.grad)
        for (name, p), q in zip(stock.named_parameters(), mine.parameters(), strict=True):
            assert close(q.grad, p.grad), name
        for name, value in stock.state_dict().items():
            assert close(mine.state_dict()[name].float(), value.float()), (name, step)
        if step == 0:
            with torch.no_grad():
                for p, q in zip(stock.parameters(), mine.parameters(), strict=True):
                    p -= 0.1 * p.grad
                    q.copy_(p)


@pytest.mark.parametrize("training", [True, False])
def test_all_half_is_the_dense_network_on_the_averaged_image(training):
    stock, mine = network().double(), converted(network().double(), policy="all-half")
    stock.train(training), mine.train(training)
    x = images().double()
    wanted = F.interpolate(stock(half_of(x)), scale_factor=2, mode="bilinear")
    got = mine(x)
    assert close(got, wanted)
    for name, value in stock.state_dict().items():
        assert close(mine.state_dict()[name].float(), value.float()), name
    (wanted**2).mean().backward(), (got**2).mean().backward()
    for (name, p), q in zip(stock.named_parameters(), mine.parameters(), strict=True):
        assert close(q.grad, p.grad), name


def test_mixed_frames_are_neither_and_their_gradients_are_right():
    net = converted(network().double(), budget=0.5, policy="heuristic")
    x = images().double().requires_grad_()
    weight = torch.randn_like(net(x))
    (gradient,) = torch.autograd.grad((net(x) * weight).sum(), x)
    step = torch.randn_like(x) * 1e-6
    with torch.no_grad():
        found = full_cells(net)
        change = ((net(x + step) - net(x - step)) * weight).sum() / 2
        assert torch.equal(full_cells(net), found)
    assert torch.allclose((gradient * step).sum(), change, rtol=1e-5)


@pytest.mark.parametrize("budget", [0.0, 0.1, 0.25, 0.4, 0.99, 1.0])
@pytest.mark.parametrize("policy", ["reinforce", "heuristic", "random", "centre"])
def test_every_image_has_the_budget(budget, policy):
    net = converted(budget=budget, policy=policy)
    net(images(3))
    assert full_cells(net).flatten(1).sum(1).tolist() == [int(budget * 12 + 1e-6)] * 3
    assert runtime_of(net).stats["executed_share"] <= budget + 1e-9


@pytest.mark.parametrize("policy", ["reinforce", "heuristic", "random", "centre"])
def test_an_image_comes_out_alike_in_any_batch(policy):
    net = converted(budget=0.4, policy=policy)
    x = images(4)
    with torch.no_grad():
        together = net(x)
        cells = full_cells(net)
        for i in (2, 0, 3, 1):
            assert close(net(x[i : i + 1]), together[i : i + 1])
            assert torch.equal(full_cells(net)[0], cells[i])
        again = net(x)
    assert torch.equal(again, together)


def test_a_constant_gradient_shows_no_grid():
    class Up(nn.Module):
        def forward(self, x):
            return F.interpolate(F.avg_pool2d(x, 2), scale_factor=4, mode="bilinear")

    net = converted(Up(), budget=0.5, policy="random")
    y, x = (torch.arange(n, dtype=torch.float32) for n in SIZE)
    ramp = (y[:, None] * 0.5 - x * 0.25).expand(1, 3, -1, -1)
    wanted, got = Up()(ramp), net(ramp)
    inner = (..., slice(16, -16), slice(16, -16))
    assert close(got[inner], wanted[inner])


def test_a_padded_convolution_sees_the_border_between_levels():
    class Box(nn.Module):
        def forward(self, x):
            return F.conv2d(x, torch.full((3, 1, 3, 3), 1 / 9), padding=1, groups=3)

    net = converted(Box(), budget=0.5, policy="random")
    y, x = (torch.arange(96, dtype=torch.float32) for _ in range(2))
    ramp = (y[:, None] * 0.5 - x * 0.25).expand(1, 3, -1, -1)
    inner = (slice(16, -16), slice(16, -16))
    error = (net(ramp) - Box()(ramp)).abs()[0, 0]
    # Three of nine pixels come from half a pixel too far: a sixth of the slope along each axis.
    assert 0.25 / 6 < error[inner].max() <= (0.5 + 0.25) / 6 + 1e-5
    beside = torch.ones(96, 96, dtype=torch.bool)
    beside.view(6, 16, 6, 16)[:, 1:-1, :, 1:-1] = False
    assert error[inner][~beside[inner]].max() < 1e-4


def test_a_budget_below_one_block_is_said_once(caplog):
    net = converted(budget=0.05, policy="heuristic")
    for _ in range(2):
        net(images())
    (record,) = caplog.records
    assert record.name.startswith("mmdyn.") and record.levelname == "WARNING"
    assert "budget 0.05 of the 12 blocks of a 48x64 image" in record.getMessage()
    assert "block_size below 16x16, so that there are 20 blocks" in record.getMessage()
    net.train()
    for _ in range(2):
        net(images())
    assert len(caplog.records) == 2 and "in training" in caplog.records[1].getMessage()


@pytest.mark.parametrize("options", [dict(budget=0.0), dict(budget=0.1), dict(policy="all-half")])
def test_nothing_is_said_where_the_budget_holds(options, caplog):
    net = network()
    convert_model(net, SegBlocksConfig(**{"block_size": 16, "policy": "heuristic", **options}))
    net(images())
    assert not caplog.records


def test_norms_that_are_synchronised_after_the_conversion_are_joined():
    net = converted(budget=0.4, policy="centre")
    net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    norms = [m for m in net.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert norms
    net.eval()(images())
    assert not any("forward" in m.__dict__ for m in norms)
    net.train()(images())
    assert all(isinstance(m.__dict__["forward"], SyncedNorm) for m in norms)
    restore_model(net)
    assert not any("forward" in m.__dict__ for m in norms)


def test_sizes_that_blocks_do_not_divide_are_padded_and_cropped():
    stock, net = network(), converted(policy="all-full")
    x = images()[:, :, :40, :52]
    padded = stock(F.pad(x, (0, 12, 0, 8)))
    assert close(net(x), padded[:, :, :40, :52])


def test_arithmetic_is_counted_by_area_with_the_policys_own():
    net = converted(budget=0.25, policy="heuristic")
    net(images())
    stats = runtime_of(net).stats
    assert stats["gmacs"] / stats["dense_gmacs"] == pytest.approx(0.25 + 0.75 * 0.25, rel=1e-3)
    learned = converted(budget=0.25)
    learned(images())
    macs = runtime_of(learned).last_frame.macs
    assert sum(n for path, n in macs.items() if path.startswith("block_policy.")) > 0
    assert runtime_of(learned).stats["gmacs"] > stats["gmacs"]


def test_the_policy_is_a_part_of_the_model_until_it_is_restored():
    stock = network()
    before = {name: value.clone() for name, value in stock.state_dict().items()}
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in stock.modules())
    net = converted(stock)
    added = set(net.state_dict()) - set(before)
    assert added and all(name.startswith("block_policy.") for name in added)
    assert {id(p) for p in net.block_policy.parameters()} <= {id(p) for p in net.parameters()}
    net(images())
    assert restore_model(net) is stock and type(stock) is Net and not is_converted(stock)
    assert list(stock.state_dict()) == list(before) and not hasattr(stock, "block_policy")
    for name, value in before.items():
        assert torch.equal(stock.state_dict()[name], value), name
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in stock.modules())


@pytest.mark.parametrize("through", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_independent_and_see_the_same(through):
    net = converted(budget=0.5)
    twin = through(net)
    x = images()
    with torch.no_grad():
        assert torch.equal(twin(x), net(x))
        twin.head.weight.zero_(), twin.block_policy.net.prior_gain.fill_(-1.0)
        twin(x)
    assert bool((full_cells(twin) ^ full_cells(net)).any())
    assert bool(net.head.weight.any()) and net.block_policy.net.prior_gain.item() == 1.0


def test_the_report_names_the_method_and_the_trial_leaves_no_trace():
    net = network()
    report = convert_model(net, SegBlocksConfig(block_size=16))
    assert "SegBlocks" in str(report) and report.sparse_mac_share > 0.99 and not report.dense
    assert runtime_of(net).stats == {}


def test_what_cannot_be_is_refused_by_name():
    with pytest.raises(ValueError, match="even.*17"):
        SegBlocksConfig(block_size=17)
    with pytest.raises(ValueError, match="budget.*0 to 1.*1.5"):
        SegBlocksConfig(budget=1.5)
    with pytest.raises(KeyError, match="nobody.*all-full.*reinforce"):
        converted(policy="nobody")
    net = network()
    net.conv.with_cp = True
    with pytest.raises(ValueError, match="'conv' recomputes.*with_cp=False"):
        converted(net)
    net = network()
    net.block_policy = nn.Identity()
    with pytest.raises(ValueError, match="attribute 'block_policy'"):
        converted(net)
    with pytest.raises(ValueError, match="labels.*heuristic"):
        converted(policy="oracle")(images())


def test_auto_blocks_halve_at_stride_32():
    config = SegBlocksConfig(block_size="auto")
    for height, width in ((360, 480), (1024, 2048), (512, 1024)):
        assert all(side % 64 == 0 for side in config.blocks_for(height, width))


@pytest.mark.parametrize("policy", ["reinforce", "heuristic", "random", "all-full"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_images_of_no_numbers_are_refused_in_evaluation(policy, bad):
    net = converted(policy=policy).eval()
    broken = images()
    broken[1, 2, 5, 7] = bad
    with torch.no_grad():
        net(images())
        with pytest.raises(ValueError, match="expected an image of finite numbers"):
            net(broken)
        net(images())


def test_weights_of_no_numbers_are_told_of_once(caplog):
    constants._tell_of_broken_weights.cache_clear()
    net = converted(policy="all-full").eval()
    next(m for m in net.modules() if isinstance(m, nn.Conv2d)).weight.data[0] = float("nan")
    with torch.no_grad():
        net(images()), net(images())
    said = [r for r in caplog.records if "weights hold NaN" in r.message]
    assert len(said) == 1
