"""Converting and restoring change nothing that is the user's; converted models copy like others."""

import copy
import io
import pickle

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from torch import nn

import mmdyn
from mmdyn import BlockCopyConfig, convert_model, is_converted, restore_model
from mmdyn.conversion import runtime_of
from tests.blocks.clips import assert_close
from tests.conversion.networks import SIZE, Net, clip, converted, network


def fingerprint(net: nn.Module) -> dict:
    """Everything that a user could tell two models apart by."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_state_dict_hooks")
    flags = ("_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")
    return dict(
        classes=[type(m) for m in net.modules()],
        state={k: (v.clone(), v.data_ptr()) for k, v in net.state_dict().items()},
        hooks=[[list(getattr(m, h).items()) for h in hooks + flags] for m in net.modules()],
        attributes=[sorted(m.__dict__) for m in net.modules()],
        repr=repr(net),
        training=[m.training for m in net.modules()],
        forward=net.forward.__func__,
    )


def same(a: dict, b: dict) -> bool:
    states = a.pop("state"), b.pop("state")
    return (
        a == b
        and states[0].keys() == states[1].keys()
        and all(
            x[1] == states[1][k][1] and torch.equal(x[0], states[1][k][0])
            for k, x in states[0].items()
        )
    )


def with_hooks(net):
    net.conv.register_forward_hook(print_nothing)
    net.register_forward_pre_hook(print_nothing)
    net.head.eval().train()
    return net


def print_nothing(*args):
    return None


@pytest.mark.parametrize("trial", [True, False])
def test_convert_then_restore_changes_no_bit(trial):
    net = with_hooks(network())
    before, output = fingerprint(net), net(clip(1)[0])
    state = torch.get_rng_state()
    report = convert_model(net, BlockCopyConfig(block_size=16), trial=trial)
    assert torch.equal(torch.get_rng_state(), state)
    assert is_converted(net) and type(net).__name__ == "BlockCopyNet" and isinstance(net, Net)
    assert list(net.state_dict()) == list(before["state"])
    assert [m.training for m in net.modules()] == before["training"]
    assert (report.sparse_mac_share is not None) == trial
    for image in clip(3):
        net(image)
    assert restore_model(net) is net
    assert same(fingerprint(net), before)
    assert torch.equal(net(clip(1)[0]), output)


def test_a_trial_leaves_nothing_behind():
    net = network().train()
    convert_model(net, BlockCopyConfig(block_size=16, policy="random"))
    runtime = runtime_of(net)
    assert net.training and not runtime.stats and not runtime.streams.states
    assert runtime.memory.nbytes == 0 and runtime.policy.frames == 0
    assert_close(net.eval()(clip(1)[0]), network()(clip(1)[0]).detach())
    assert runtime.stats["first_frame"]


class Picky(Net):
    def forward(self, x):
        assert x.shape[1] != 3
        return super().forward(x)


def test_a_network_that_the_trial_does_not_suit_is_converted_all_the_same():
    net = network(Picky)
    report = convert_model(net, BlockCopyConfig())
    assert "no trial frame (AssertionError" in report.note
    assert is_converted(net)


def test_strict_conversion_raises_at_once_and_leaves_the_model_alone():
    class Odd(Net):
        def features(self, x):
            return super().features(x).cumsum(3)

    net = network(Odd)
    before = fingerprint(net)
    with pytest.raises(NotImplementedError, match="cumsum.*strict=False"):
        convert_model(net, BlockCopyConfig(strict=True))
    assert same(fingerprint(net), before)


def test_converting_twice_and_restoring_what_is_not_converted_are_refused():
    net = network()
    with pytest.raises(ValueError, match="convert_model"):
        restore_model(net)
    with pytest.raises(ValueError, match="convert_model"):
        mmdyn.reset(net)
    converted(net)
    with pytest.raises(ValueError, match="restore_model"):
        convert_model(net, BlockCopyConfig())
    with pytest.raises(TypeError, match="BlockCopyConfig"):
        convert_model(network(), dict(budget=0.3))


class Looping(Net):
    """Knows itself by another name, as a registry of callbacks would make it."""

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["me"] = [self]
        self.__dict__["act"] = self.features


def duplicate(net, how):
    if how == "deepcopy":
        return copy.deepcopy(net)
    if how == "pickle":
        return pickle.loads(pickle.dumps(net))
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("policy", ["frame_difference", "reinforce"])
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_copies_are_converted_run_on_their_own_and_can_be_restored(how, policy):
    net, frames = converted(network(Looping), budget=0.3, policy=policy), clip(6)
    for image in frames[:3]:
        net(image)
    twin = duplicate(net, how)
    assert twin.me[0] is twin and twin.act.__self__ is twin
    assert type(twin) is type(net) and twin.stem.weight.data_ptr() != net.stem.weight.data_ptr()
    assert_close(twin(frames[3]), network()(frames[3]).detach())
    expected = net(frames[3])
    twin(frames[4])
    with torch.no_grad():
        twin.stem.weight.zero_()
    assert expected.shape == net(frames[4]).shape
    assert runtime_of(net).tracker is not runtime_of(twin).tracker
    restore_model(twin)
    assert type(twin) is Looping and not any(m._forward_hooks for m in twin.modules())
    assert is_converted(net)


def test_a_moving_average_of_a_converted_model_follows_its_weights():
    net, image = converted(policy="all"), clip(1)[0]
    average = ExponentialMovingAverage(net, momentum=0.5)
    assert is_converted(average.module)
    for step in range(3):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.1 * (step + 1))
        average.update_parameters(net)
        stock = network()
        stock.load_state_dict(average.module.state_dict())
        assert_close(average.module(image), stock(image).detach())


def test_the_policy_is_no_part_of_the_model():
    net = converted(policy="reinforce")
    assert [n for n, _ in net.named_parameters()] == [n for n, _ in network().named_parameters()]
    assert len(list(net.modules())) == len(list(network().modules()))


class Checked(nn.Module):
    """Has its own idea of what is pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.cache = torch.zeros(*SIZE)

    def __getstate__(self):
        return {k: v for k, v in self.__dict__.items() if k != "cache"}

    def forward(self, x):
        return self.conv(x)


def test_the_hosts_own_pickling_is_kept():
    net = converted(Checked().eval())
    assert not hasattr(copy.deepcopy(net), "cache")


def test_any_module_can_be_a_host():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(True)).eval()
    image = torch.randn(2, 3, 32, 32)
    wanted = net(image).detach()
    convert_model(net, BlockCopyConfig(block_size=16, policy="all"))
    assert_close(net(image), wanted)
    assert restore_model(net)[0] is net[0] and type(net) is nn.Sequential


@pytest.mark.parametrize("options, told", [({"budget": 0.02}, True), ({"budget": 0.1}, False),
                                           ({"budget": 0.02, "policy": "none"}, False),
                                           ({"budget": 0.1, "max_age": 8}, True)])  # fmt: skip
def test_a_budget_that_old_blocks_exceed_is_told(options, told, caplog):
    convert_model(nn.Conv2d(3, 3, 3, padding=1), BlockCopyConfig(**options), trial=False)
    assert ("will be exceeded" in caplog.text) == told
