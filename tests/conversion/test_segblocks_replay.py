"""SegBlocks replays recorded modules in evaluation, and gives what their Python gives."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmdyn import restore_model
from mmdyn.conversion import runtime_of
from mmdyn.conversion.replay import Segment
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
