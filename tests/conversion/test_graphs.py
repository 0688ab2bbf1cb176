"""Recorded stretches as graphs: memory that does not move, tables made anew, outputs to keep.

A stand-in for CUDA's graphs runs on the CPU: like those it computes on the tensors that were there
at the capture, and writes over what it gave before.
"""

from __future__ import annotations

import copy
import logging
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import mmdyn
from mmdyn.blocks import graphs
from mmdyn.conversion import replay
from tests.conversion.networks import clip, converted, network
from tests.conversion.replays import FRAMES, pair_of, replayed, run_both
from tests.conversion.test_segblocks import images
from tests.conversion.test_segblocks_replay import pair_of as segblocks_pair_of


class StandIn(graphs.GraphPool):
    """Graphs on the CPU."""

    made = replays = 0
    wrong = False

    def serves(self, device):
        return True

    def capture(self, device, run):
        type(self).made += 1
        out = run()

        def again():
            type(self).replays += 1
            for mine, now in zip(out, run(), strict=True):
                mine.copy_(now + 1 if self.wrong else now)

        return out, again


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(replay, "GraphPool", StandIn)
    StandIn.made = StandIn.replays = 0
    yield StandIn


@pytest.mark.parametrize(
    "options", [{}, {"budget": 0.2}, {"max_age": 3}, {"half_budget": 0.2}, {"policy": "random"}]
)
def test_graphs_change_no_bit(options):
    pair = pair_of(network(), **options)
    run_both(pair, clip(2 * FRAMES))
    assert replayed(pair[0])
    assert StandIn.replays > StandIn.made > 0


def test_a_graph_a_count_of_blocks():
    pair = pair_of(network(), budget=0.3)
    run_both(pair, clip(60))
    programs = [case.program for case in segment_of(pair[0]).cases.values() if case.program]
    assert 1 < len(programs) <= StandIn.made <= len(programs) + 2
    assert all(program._graph for program in programs if program._graphs_left < 4)


def segment_of(model) -> replay.Segment:
    return model.net.__dict__["forward"]


def test_batches_and_streams_that_come_later():
    """Slots above 0 are looked up on the device; memory that grows moves."""
    pair = pair_of(network())
    frames = clip(2 * FRAMES, images=2)
    run_both(pair, [frame[:1] for frame in frames[:FRAMES]])
    run_both(pair, frames)
    assert StandIn.replays


def test_segblocks_has_graphs_too():
    pair = segblocks_pair_of(budget=0.4)
    with torch.no_grad():
        for i in range(8):
            assert torch.equal(*[model(images(2, i)) for model in pair])
    assert StandIn.replays > StandIn.made > 0


class Means(nn.Module):
    """Gives plain numbers, and no blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x):
        return F.adaptive_avg_pool2d(F.relu(self.conv(x)), 1).flatten(1)


@torch.no_grad()
@pytest.mark.parametrize("net", [Means, network])
def test_outputs_are_the_callers_to_keep(net):
    model = pair_of(net())[0]
    kept = []
    for frame in clip(FRAMES):
        out = model(frame)
        kept.append((out, out.clone()))
    assert StandIn.replays
    assert all(torch.equal(out, then) for out, then in kept)


def test_a_graph_that_gives_something_else_is_not_used(monkeypatch, caplog):
    monkeypatch.setattr(StandIn, "wrong", True)
    pair = pair_of(network())
    with caplog.at_level(logging.INFO):
        run_both(pair, clip(FRAMES))
    assert "operator by operator, without a graph: its results differ" in caplog.text
    assert replayed(pair[0]) > StandIn.replays == StandIn.made


def test_what_cannot_be_captured_runs_operator_by_operator(monkeypatch, caplog):
    def refuses(self, device, run):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(StandIn, "capture", refuses)
    pair = pair_of(network(), policy="all")
    with caplog.at_level(logging.INFO):
        run_both(pair, clip(FRAMES))
    assert replayed(pair[0])
    assert caplog.text.count("not permitted when stream is capturing") == 1


class InPlace(nn.Module):
    """Writes into a tensor that it is given, at which its caller looks afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x, seen):
        x = self.conv(x)
        seen += F.adaptive_avg_pool2d(x, 1).flatten(1)
        return x


class Caller(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = InPlace()

    def forward(self, x):
        seen = torch.ones(x.shape[0], 8)
        return self.net(x, seen) * seen[:, :, None, None]


def test_a_stretch_that_writes_into_its_input_has_no_graph(caplog):
    options = dict(policy="frame_difference", budget=0.5)
    net = Caller().eval()
    pair = converted(copy.deepcopy(net), **options), converted(net, replay=False, **options)
    with caplog.at_level(logging.INFO):
        run_both(pair, clip(FRAMES))
    assert replayed(pair[0])
    assert "without a graph: it writes into what it is given" in caplog.text


def test_memory_that_moves_is_noticed():
    """Another size in between, and a reset."""
    pair = pair_of(network())
    frames = clip(40)
    small = [frame[..., :32, :48].contiguous() for frame in frames]
    for part in (frames[:12], small[:12], frames[12:24], small[12:24]):
        run_both(pair, part)
        for model in pair:
            mmdyn.reset(model)
    assert StandIn.replays


def test_weights_that_change():
    pair = pair_of(network())
    frames = clip(3 * FRAMES)
    run_both(pair, frames[:FRAMES])
    for model in pair:
        for parameter in model.parameters():
            parameter.data.mul_(0.9)
    run_both(pair, frames[FRAMES:])
    assert StandIn.replays


def test_copies_capture_their_own():
    pair = pair_of(network())
    run_both(pair, clip(FRAMES))
    for twin in (copy.deepcopy(pair[0]), pickle.loads(pickle.dumps(pair[0]))):
        pool = segment_of(twin).replayer.graphs
        assert isinstance(pool, StandIn) and pool is not segment_of(pair[0]).replayer.graphs
        fresh = pair_of(network())[1]
        fresh.load_state_dict(twin.state_dict())
        run_both((twin, fresh), clip(FRAMES))


def test_no_graphs_on_a_cpu():
    assert not graphs.GraphPool().serves(torch.device("cpu"))
    assert graphs.GraphPool().serves(torch.device("cuda", 1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_graphs_on_a_gpu(monkeypatch):
    monkeypatch.setattr(replay, "GraphPool", graphs.GraphPool)
    pair = [model.cuda() for model in pair_of(network())]
    with torch.no_grad():
        for frame in clip(2 * FRAMES):
            outs = [model(frame.cuda()) for model in pair]
            torch.testing.assert_close(*outs, rtol=1e-4, atol=1e-5)
    programs = [case.program for case in segment_of(pair[0]).cases.values() if case.program]
    assert any(program._graph for program in programs)
