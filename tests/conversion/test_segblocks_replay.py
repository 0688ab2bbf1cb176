"""SegBlocks replays recorded modules in evaluation, and gives what their Python gives."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmdyn import restore_model
from mmdyn.conversion import runtime_of
from mmdyn.conversion.replay import Segment
from mmdyn.conversion.segblocks_runtime import untouched
from tests.conversion.networks import Net, network
from tests.conversion.replays import Host, replayed
from tests.conversion.test_replay import ByValue, Counting, InNumPy
from tests.conversion.test_segblocks import converted, images

IMAGES = 8


def pair_of(net: nn.Module | None = None, **options) -> list[nn.Module]:
    """The same network converted with and without replay."""
    net = Host(net).eval()
    options = {"policy": "heuristic", **options}
    return [converted(copy.deepcopy(net), replay=on, **options) for on in (True, False)]


def run_both(pair, count: int = 2, first: int = 0, grad: bool = False) -> None:
    for i in range(first, first + IMAGES):
        with torch.set_grad_enabled(grad):
            outs = [model(images(count, i)) for model in pair]
        assert torch.equal(*outs)
        stats = [runtime_of(model).stats for model in pair]
        assert stats[0]["gmacs"] == stats[1]["gmacs"] > 0
        assert stats[0]["dense_gmacs"] == stats[1]["dense_gmacs"]


@pytest.mark.parametrize("budget", [0.0, 0.2, 0.6, 1.0])
def test_replay_changes_no_bit(budget):
    pair = pair_of(budget=budget)
    run_both(pair)
    assert replayed(pair[0]) == IMAGES - 4


def test_batches_of_other_sizes_are_other_programs():
    pair = pair_of()
    run_both(pair)
    before = replayed(pair[0])
    run_both(pair, count=1)
    assert before < replayed(pair[0])
    with torch.inference_mode():
        assert torch.equal(*[model(images(1)) for model in pair])


def test_nothing_is_replayed_while_autograd_records_or_in_training():
    pair = pair_of()
    run_both(pair, grad=True)
    assert not replayed(pair[0])
    for model in pair:
        model.train()
    run_both(pair)
    assert not replayed(pair[0])


def test_weights_that_changed_between_images():
    pair = pair_of()
    run_both(pair)
    for model in pair:
        model.train()
        model(images(2)).square().mean().backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * (0.0 if p.grad is None else p.grad)
        model.eval()
    before = replayed(pair[0])
    run_both(pair, first=20)
    assert replayed(pair[0]) > before


class Scattering(Net):
    """Composes its maps, so that whole frames are among the recorded stores."""

    def forward(self, x):
        return super().forward(x) + x.cumsum(2).mean(1, keepdim=True)


def test_frames_that_are_composed():
    pair = pair_of(network(Scattering))
    run_both(pair)
    assert replayed(pair[0])


@pytest.mark.parametrize("kind", [ByValue, InNumPy, Counting])
def test_what_cannot_be_repeated_is_left_alone(kind):
    pair = pair_of(network(kind))
    run_both(pair)
    assert pair[0].net.__dict__["forward"].refused and not replayed(pair[0])


def test_restored_and_switched_off():
    on, off = pair_of()
    assert any(isinstance(m.__dict__.get("forward"), Segment) for m in on.modules())
    restore_model(on)
    for model in (on, off):
        assert not any(isinstance(m.__dict__.get("forward"), Segment) for m in model.modules())
    with pytest.raises(ValueError, match="replay must be True or False"):
        converted(replay="yes")
    assert F.relu(on(images(1))).shape == on(images(1)).shape


class Counts(Net):
    """Counts its images in a buffer."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.seen.add_(1)
        return super().forward(x)


@pytest.mark.parametrize("budget", [0.4, 1.0])  # joint statistics, and torch's own
@pytest.mark.parametrize("kind", ["buffer", "norm in training", "norm that does not count"])
def test_buffers_are_written_once(kind, budget):
    pair = pair_of(network(Counts) if kind == "buffer" else network(), budget=budget)
    for model in pair if kind != "buffer" else ():
        model.net.norm.train()
        if "count" in kind:
            model.net.norm.num_batches_tracked = None
    run_both(pair)
    states = [model.net.state_dict() for model in pair]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert not replayed(pair[0])


def test_a_pass_that_is_taken_back_writes_only_what_it_changed():
    """Else an oracle's passes would make everybody pack weights and record anew."""
    model, _ = pair_of()
    buffers = list(model.buffers())
    before = [buffer._version for buffer in buffers]
    with untouched(model):
        buffers[0].add_(1.0)
        value = buffers[0].clone()
    assert not torch.equal(buffers[0], value) and buffers[0]._version > before[0]
    assert [buffer._version for buffer in buffers[1:]] == before[1:]


@pytest.mark.parametrize("policy", ["all-full", "all-half", "heuristic"])
def test_inference_mode_leaves_nothing_that_training_cannot_use(policy):
    model, twin = pair_of(policy=policy)
    with torch.inference_mode():
        outs = [model(images(2, i)) for i in range(6)]
        assert torch.equal(outs[-1], twin(images(2, 5)))
    model.train()(images(2)).square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.net.parameters())


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.stem, self.net = nn.Conv2d(3, 3, 1), network()
        self.reentrant = reentrant

    def forward(self, x):
        return checkpoint(self.net, self.stem(x), use_reentrant=self.reentrant)


def test_checkpoints_keep_all_gradients_or_are_refused():
    net = Checkpointed(False).double()
    stock, mine = copy.deepcopy(net), converted(copy.deepcopy(net), policy="all-full")
    for model in (stock, mine):
        model.train()(images(2).double()).square().mean().backward()
    for wanted, got in zip(stock.parameters(), mine.parameters(), strict=True):
        torch.testing.assert_close(got.grad, wanted.grad)
    mine = converted(Checkpointed(True).double(), policy="all-full").train()
    with pytest.raises(RuntimeError, match="reentrant checkpoint at 'net.*use_reentrant=False"):
        mine(images(2).double())
    with torch.no_grad():
        assert mine(images(2).double()).isfinite().all()
