"""Convolutions that wait give what they would have given at once, whatever happens in between."""

import gc

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmdyn.blocks import BlockTensor, Constants
from tests.blocks.clips import Clip, assert_close

C = 8


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    make = dict(one=(C, C, 1, 1), three=(C, C, 3, 3), bias=(C,), mean=(C,), gamma=(C,), beta=(C,))
    made = {k: torch.randn(v, generator=generator) * 0.3 for k, v in make.items()}
    made["var"] = torch.rand(C, generator=generator) + 0.5
    return made


def norm(x, w):
    return F.batch_norm(x, w["mean"], w["var"], w["gamma"], w["beta"])


def write_first_channels(x):
    x[:, :3].mul_(0.5)


# What a network may do with a map `a` and another one `b`; a name with `_` writes into `a`.
STEPS = {
    "conv1": lambda a, b, w: F.conv2d(a, w["one"], w["bias"]),
    "conv3": lambda a, b, w: F.conv2d(a, w["three"], None, 1, 1),
    "wide": lambda a, b, w: F.conv2d(a, w["three"], w["bias"], 1, 12, 12),
    "norm": lambda a, b, w: norm(a, w),
    "relu": lambda a, b, w: F.relu(a),
    "relu_": lambda a, b, w: F.relu(a, inplace=True),
    "leaky": lambda a, b, w: F.leaky_relu(a, 0.1),
    "silu_": lambda a, b, w: F.silu(a, inplace=True),
    "hardtanh": lambda a, b, w: F.hardtanh(a, -0.4, 0.6),
    "sigmoid": lambda a, b, w: a.sigmoid(),
    "add": lambda a, b, w: a + b,
    "add_": lambda a, b, w: a.add_(b),
    "halve_": lambda a, b, w: a.mul_(0.5),
    "part_": lambda a, b, w: write_first_channels(a),
    "set_": lambda a, b, w: a.__setitem__((slice(None), 2), 0.25),
    "copy_": lambda a, b, w: a.copy_(b),
    "parts": lambda a, b, w: torch.cat([a[:, 4:], b[:, :4]], 1),
    "padded": lambda a, b, w: F.pad(a, (1, 1, 1, 1)),
}
WRITING = {name for name in STEPS if name.endswith("_")}


def play(x, program, w):
    """Runs a program of (step, a, b) on growing lists of maps and padded maps."""
    maps, padded = [x], []
    for name, a, b in program:
        a, b = maps[a % len(maps)], maps[b % len(maps)]
        result = STEPS[name](a, b, w)
        if name not in WRITING:
            (padded if name == "padded" else maps).append(result)
    return maps + [F.conv2d(p, w["three"]) for p in padded]


steps = st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 5), st.integers(0, 5))


@settings(max_examples=40)
@given(st.lists(steps, min_size=2, max_size=8), st.sampled_from(["all", "some"]))
def test_any_order_of_what_follows_gives_the_dense_result(program, cells):
    x, w = torch.randn(1, C, 16, 24, generator=torch.Generator().manual_seed(1)), weights()
    wanted = play(x.clone(), program, w)
    clip = Clip(lambda v: [getattr(m, "dense", m)() for m in play(v, program, w)], (8, 8))
    assert all(isinstance(m, torch.Tensor) for m in clip.run(x))
    for got, want in zip(clip.run(x, cells), wanted, strict=True):
        assert_close(got, want, torch.float32)


def test_a_bottleneck_runs_its_convolutions_fused():
    w = weights()
    calls = []

    def network(x):
        y = F.relu(norm(F.conv2d(x, w["three"], None, 1, 1), w), inplace=True)
        assert y.deferred is not None
        y = norm(F.conv2d(y, w["one"]), w)
        y = F.relu(y + x, inplace=True)
        assert y.deferred is not None
        calls.append(y.deferred)
        return y

    Clip(network, (8, 8), remembers=False).dense(torch.randn(1, C, 16, 16))
    assert calls[0].norm and calls[0].residual and calls[0].epilogue.activation == "relu"
    assert calls[0].result is not None and calls[0].parent is None


def test_a_network_that_needs_the_raw_convolution_stops_waiting_for_its_epilogue():
    w = weights()

    def network(x):
        raw = F.conv2d(x, w["one"])
        return F.relu(norm(raw, w)) + raw

    clip = Clip(network, (8, 8))
    x = torch.randn(1, C, 16, 16)
    for _ in range(2):
        assert_close(clip.dense(x), network(x))
    assert clip.constants.eager


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(C, C, 3, padding=1)
        self.norm = nn.BatchNorm2d(C)
        self.wide = nn.Conv2d(C, C, 3, padding=9, dilation=9)

    def forward(self, x):
        return self.wide(F.relu(self.norm(self.conv(x))))


def train_a_step(net):
    net.train()
    with torch.enable_grad():
        net(torch.randn(2, C, 16, 16)).square().mean().backward()
    torch.optim.SGD(net.parameters(), 0.5).step()
    net.eval()


def swap_through_data(net):
    for value in net.state_dict().values():
        if value.is_floating_point():
            value.data.copy_(torch.rand_like(value) + 0.1)


def train_norm_alone(net):
    net.norm.running_var.data.mul_(3)


CHANGES = {
    "in place": lambda net: net.conv.weight.mul_(2),
    "load_state_dict": lambda net: net.load_state_dict(Net().state_dict()),
    "assigned": lambda net: net.load_state_dict(Net().state_dict(), assign=True),
    "there and back": lambda net: net.to(torch.float16).to(torch.float32),
    "training": train_a_step,
    "through data": swap_through_data,
    "statistics through data": train_norm_alone,
    "new data": lambda net: setattr(net.wide.weight, "data", torch.randn(C, C, 3, 3)),
    "new parameter": lambda net: setattr(net.conv, "weight", nn.Parameter(torch.ones(C, C, 3, 3))),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_weights_are_noticed(change):
    net = Net().eval()
    x = torch.randn(1, C, 16, 16)
    clip = Clip(net, (8, 8))
    assert_close(clip.dense(x), net(x))
    change(net)
    for _ in range(2):
        assert_close(clip.dense(x), net(x))


def test_one_weight_under_several_dilations_and_norms():
    w = weights()

    def network(x):
        same = [F.conv2d(x, w["three"], None, 1, d, d) for d in (1, 2, 3)]
        return norm(same[0], w) + same[1] + F.batch_norm(same[2], w["beta"], w["var"])

    clip = Clip(network, (8, 8))
    x = torch.randn(1, C, 16, 16)
    for _ in range(2):
        assert_close(clip.dense(x), network(x))


def test_weights_made_for_one_frame_are_not_kept():
    source = torch.randn(C, C, 3, 3)
    clip = Clip(lambda x: F.conv2d(x, source / source.norm(), None, 1, 1), (8, 8))
    for _ in range(4):
        clip.dense(torch.randn(1, C, 16, 16))
    gc.collect()
    assert len(clip.constants) == 0


def test_constants_are_not_copied_with_a_model():
    import copy
    import pickle

    constants = Constants()
    weight = torch.ones(3)
    assert constants.kept("sum", (weight,), weight.sum) == 3
    assert len(constants) == 1
    assert len(copy.deepcopy(constants)) == len(pickle.loads(pickle.dumps(constants))) == 0


def test_an_empty_batch_of_blocks_keeps_its_shape():
    w = weights()
    out = Clip(lambda x: norm(F.conv2d(x, w["three"], None, 2, 1), w), (8, 8))
    out.dense(torch.randn(1, C, 16, 16))
    blocks = out.run(torch.randn(1, C, 16, 16), "none")
    assert isinstance(blocks, BlockTensor) and blocks.shape == (1, C, 8, 8)
    assert blocks.blocks.shape == (0, C, 4, 4)
