"""What changes under a converted network: weights, statistics, sizes, whole pictures."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mmdyn
from mmdyn import BlockCopyConfig
from mmdyn.conversion import convert_model, dynamic, is_converted, runtime_of
from mmdyn.policies import build_policy
from tests.blocks.clips import assert_close
from tests.conversion.networks import clip, converted, dense, named, network, share


class FrameStatistics(nn.Module):
    """Batch norm that keeps no averages, twice, with outputs of the same size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)
        self.last = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = F.relu(self.norm(self.conv(x)))
        return self.norm(self.last(x))


@pytest.mark.parametrize("replay", [False, True])
def test_batch_norm_without_averages_takes_those_of_the_whole_frame(replay):
    torch.manual_seed(0)
    stock = FrameStatistics().eval()
    net = converted(copy.deepcopy(stock), budget=0.3, policy="random", replay=replay)
    for image in [*clip(1), *clip(1)] * 3:
        assert_close(net(image), stock(image))
    assert share(net) < 1.0


def scaled(net):
    with torch.no_grad():
        net.head.weight.mul_(2)


def loaded(net):
    net.load_state_dict({k: v * 1.5 for k, v in net.state_dict().items()})


def averaged(net):
    net.norm.running_var.add_(1.0)


def swapped(net):
    """As mmengine's moving averages do."""
    net.stem.weight.data = net.stem.weight.data * 0.5


def written_past_the_counters(net):
    net.stem.weight.data.mul_(0.5)


def parameter_replaced(net):
    net.stem.weight = nn.Parameter(-net.stem.weight.detach())


def bias_replaced(net):
    net.head.bias = nn.Parameter(net.head.bias.detach() + 5.0)


def module_replaced(net):
    net.head = nn.Conv2d(8, 3, 3, padding=1)


CHANGES = [
    scaled, loaded, averaged, swapped, written_past_the_counters, parameter_replaced, bias_replaced,
    module_replaced,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_start_all_streams_anew(change):
    net, frames = converted(budget=0.25), clip(4)
    for image in frames[:3]:
        net(image)
    assert share(net) < 1.0
    change(net)
    stock = network()
    stock.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert_close(net(frames[3]), stock(frames[3]))
    assert share(net) == 1.0
    net(frames[3])
    assert share(net) < 1.0


class Buffered(nn.Module):
    """A buffer that scales, one that counts frames, and one that is made anew in each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.register_buffer("gain", torch.ones(1, 4, 1, 1))
        self.register_buffer("frames", torch.zeros(()))
        self.register_buffer("latest", torch.zeros(()))

    def forward(self, x):
        self.frames += 1
        self.latest = torch.ones(())
        return self.conv(x) * self.gain


@pytest.mark.parametrize("replay", [False, True])
@pytest.mark.parametrize("replace", [False, True])
def test_buffers_that_somebody_changes_start_all_streams_anew(replace, replay):
    torch.manual_seed(0)
    stock = Buffered().eval()
    net = converted(copy.deepcopy(stock), budget=0.25, replay=replay)
    image = clip(1)[0]
    with torch.no_grad():
        wanted = stock(image)
        for _ in range(8):
            assert_close(net(image), wanted)
        assert share(net) < 1.0
        if replace:
            net.gain = torch.full((1, 4, 1, 1), 3.0)
        else:
            net.gain.mul_(3.0)
        assert_close(net(image), 3.0 * wanted)
    assert share(net) == 1.0


def test_reset_sees_writes_that_nothing_else_sees():
    net, image = converted(policy="all"), clip(1)[0]
    for _ in range(4):
        net(image)
    net.conv.weight.data[0, 0, 0, 1] = 5.0
    mmdyn.reset(net)
    stock = network()
    stock.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert_close(net(image), stock(image))


def test_cameras_of_two_sizes_keep_their_memory_once_both_are_known():
    net, frames, shares = converted(budget=0.25), clip(8), []
    for t, image in enumerate(frames):
        for name, factor in (("a", 1), ("b", 2)):
            named(net, F.interpolate(image, scale_factor=factor), (name, t))
            shares.append(share(net))
    assert all(s < 1.0 for s in shares[6:])
    mmdyn.reset(net, "a")
    named(net, frames[0], ("a", 9))
    assert share(net) == 1.0
    with pytest.raises(KeyError, match="no stream 'c'"):
        mmdyn.reset(net, "c")


def test_stills_far_apart_in_number_are_no_clip(caplog):
    net, frames = converted(budget=0.25, max_age=8), clip(3)
    for image, number in zip(frames, (3, 200, 205), strict=True):
        named(net, image, ("val2017", number))
        assert (share(net) == 1.0) == (number != 205)
    assert "raise max_age" in caplog.text


def test_noise_on_a_wall_is_no_cut():
    net = converted(budget=0.25, scene_cut=0.75)
    for seed in range(4):
        noise = torch.randn(1, 3, 192, 256, generator=torch.Generator().manual_seed(seed))
        net(0.5 + 0.01 * noise)
    assert share(net) < 0.5


@pytest.mark.parametrize("budget", [0.25, 1.0])
def test_pictures_that_change_as_a_whole_all_the_time_are_told_once(budget, caplog):
    net, image = converted(budget=budget, scene_cut=0.75), clip(1)[0]
    for t in range(10):
        bright = image + 3.0 * (t % 2)
        assert_close(net(bright), dense(bright))
    assert caplog.text.count("raise scene_cut") == (budget < 1.0)


def test_padding_is_told_and_not_booked_as_saved(caplog):
    net = converted(policy="all", block_size=64)
    net(clip(1)[0])
    assert "padded to 64x64" in caplog.text
    stats = runtime_of(net).stats
    assert stats["dense_gmacs"] == pytest.approx(stats["gmacs"] * 48 / 64)


def test_a_config_line_tells_once_what_its_first_frame_showed(monkeypatch):
    told = []
    monkeypatch.setattr(dynamic, "print_log", lambda text, logger: told.append(text))
    net = converted(policy="all")
    net.report_first_frame()
    for image in clip(3):
        net(image)
    assert len(told) == 1 and "100.0% of the MACs run on blocks" in told[0]


@pytest.mark.parametrize(("learning", "wanted"), [(None, False), (True, True), (False, False)])
def test_a_frozen_policy_stays_frozen_unless_told(learning, wanted):
    policy = build_policy("reinforce")
    policy.learning = False
    net = converted(policy=policy, learning=learning)
    assert runtime_of(net).policy.learning is wanted
    spelled = dict(type="reinforce", learning=False)
    assert runtime_of(converted(policy=spelled, learning=learning)).policy.learning is wanted
    assert runtime_of(converted(policy="reinforce", learning=learning)).policy.learning is (
        learning is not False
    )


def test_a_conversion_that_fails_leaves_the_stock_model():
    net = network()
    net.extra = torch.jit.script(nn.Conv2d(3, 3, 1))
    with pytest.raises(RuntimeError, match="ScriptModule"):
        convert_model(net, BlockCopyConfig(block_size=16))
    assert not is_converted(net) and type(net) is type(network())


def test_timing_the_stock_network_is_no_change_of_weights():
    net, shares = converted(budget=0.3, dense_fallback=None), []
    for image in clip(6):
        net(image)
        shares.append(share(net))
    assert runtime_of(net).fallback.enabled and all(s < 1.0 for s in shares[1:])


def test_weights_that_are_no_numbers_are_no_change():
    net, frames = converted(budget=0.25), clip(4)
    with torch.no_grad():
        net.head.bias[1] = float("nan")
    for image in frames:
        net(image)
    assert share(net) < 1.0
