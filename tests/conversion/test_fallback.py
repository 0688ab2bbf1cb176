"""A converted network whose blocks do not pay runs as the stock network; the clock is made up."""

import logging
import threading
import types

import pytest
import torch
from torch import nn

import mmdyn
from mmdyn.blocks import BlockTensor
from mmdyn.conversion import runtime_of
from tests.blocks.clips import assert_close
from tests.conversion.networks import Net, clip, converted, dense, network, share


@pytest.fixture(autouse=True)
def blocks_always():
    """The fixture of this name elsewhere keeps the clock out; here it is what is tested."""


class Timed(Net):
    """Says how long it took: so many ms on blocks, so many without."""

    on_blocks, on_dense = 20.0, 10.0

    def __init__(self) -> None:
        super().__init__()
        self.watch = types.SimpleNamespace(now=0.0, ran_dense=0)  # beside what is put back

    def forward(self, x):
        on_blocks = isinstance(x, BlockTensor)
        self.watch.ran_dense += not on_blocks
        self.watch.now += (self.on_blocks if on_blocks else self.on_dense) / 1e3
        return super().forward(x)

    @property
    def now(self) -> float:
        return self.watch.now

    @property
    def ran_dense(self) -> int:
        return self.watch.ran_dense


def timed(**options) -> nn.Module:
    options = {"dense_fallback": True, **options}
    net = converted(network(Timed), budget=0.3, replay=False, **options)
    runtime_of(net).fallback.table.clock = lambda: net.now
    return net


def test_a_network_for_which_blocks_do_not_pay_runs_stock_and_says_so(caplog):
    net, shares = timed(), []
    with caplog.at_level(logging.INFO):
        for image in clip(30):
            out = net(image)
            shares.append(share(net))
    assert_close(out, dense(image))
    assert shares[0] == 1.0 and shares[9] < 0.5 and shares[20:] == [1.0] * 10
    said = [r.getMessage() for r in caplog.records if "dense_fallback" in r.getMessage()]
    assert len(said) == 1 and "BlockCopy" not in said[0] and "10.0 ms without blocks" in said[0]
    stats = runtime_of(net).stats
    assert not stats["first_frame"] and stats["gmacs"] == stats["dense_gmacs"] > 0
    assert runtime_of(net).memory.nbytes == 0 and net.ran_dense >= 3 + 10


def test_a_network_for_which_they_pay_is_timed_and_left_alone():
    net = timed()
    net.on_dense = 100.0
    for image in clip(40):
        net(image)
    assert share(net) < 0.5 and net.ran_dense == 3


def test_it_can_be_switched_off():
    net = timed(dense_fallback=False)
    for image in clip(30):
        net(image)
    assert share(net) < 0.5 and net.ran_dense == 0


def test_by_default_it_warns_once_and_keeps_the_budget(caplog):
    net = timed(dense_fallback=None)
    with caplog.at_level(logging.WARNING):
        for image in clip(60):
            net(image)
    assert share(net) < 0.5 and net.ran_dense == 3
    said = [r.getMessage() for r in caplog.records if "dense_fallback=True" in r.getMessage()]
    assert len(said) == 1 and "blocks do not pay here" in said[0]


def test_the_first_frame_on_blocks_after_stock_ones_runs_whole():
    net, still = timed(), clip(1, seed=3)[0]
    for image in clip(30):
        net(image)
    net.on_dense, seen = 200.0, []
    for _ in range(50):
        stock = runtime_of(net).fallback.is_dense(still, (16, 16))
        assert_close(net(still), dense(still))  # a copied block would be of another image
        seen.append((stock, share(net)))
    back = [stock for stock, _ in seen].index(False)
    assert 0 < back < 40 and seen[back] == (False, 1.0) and seen[back + 1][1] < 0.5


def test_clips_start_anew_while_the_stock_network_runs():
    net, frames = timed(), clip(31)
    for image in frames[:30]:
        net(image)
    mmdyn.reset(net)
    net(frames[30])
    stats = runtime_of(net).stats
    assert stats["first_frame"] and stats["executed_share"] == 1.0
    net(frames[30])
    assert not runtime_of(net).stats["first_frame"]


def test_times_are_kept_in_a_file(tmp_path):
    path = str(tmp_path / "times.json")
    net = timed(dense_fallback=path)
    for image in clip(30):
        net(image)
    again, shares = timed(dense_fallback=path), []
    for image in clip(14):
        again(image)
        shares.append(share(again))
    assert shares[9] < 0.5 and shares[13] == 1.0  # the blocks' times were known
    assert again.ran_dense - 3 == shares[1:].count(1.0) <= 4


def test_times_of_another_network_of_the_class_are_not_taken(tmp_path, caplog):
    path = str(tmp_path / "times.json")
    nets = []
    for width in (None, 3):
        net = network(Timed)
        if width:
            net.head = nn.Conv2d(net.head.in_channels, width, 1)
        nets.append(converted(net, budget=0.3, replay=False, dense_fallback=path))
        fallback = runtime_of(nets[-1]).fallback
        fallback.table.clock = lambda net=nets[-1]: net.now
        with caplog.at_level(logging.INFO):
            known = fallback._times(clip(1)[0], (16, 16)).points()
        for image in clip(14):
            nets[-1](image)
        assert known == [] and fallback._times(image, (16, 16)).points()
    said = [r.getMessage() for r in caplog.records if "no times of this network" in r.getMessage()]
    assert len(said) == 1 and "dense_fallback" in said[0]


def test_a_frame_tells_what_timing_took():
    net, told = timed(), []
    net.on_dense = 100.0
    for image in clip(4):
        net(image)
        told.append(runtime_of(net).stats["tuning_ms"])
    assert told == [0.0, pytest.approx(300.0), 0.0, 0.0]
    net, told = timed(), []
    for image in clip(30):
        net(image)
        told.append(runtime_of(net).stats["tuning_ms"])
    assert share(net) == 1.0 and sum(told) == pytest.approx(30.0)


def test_a_path_that_does_not_work_is_refused_at_the_conversion(tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        timed(dense_fallback=str(tmp_path / "nowhere" / "times.json"))


def test_times_are_kept_when_blocks_pay(tmp_path):
    net = timed(dense_fallback=str(tmp_path / "times.json"))
    net.on_dense = 100.0
    for image in clip(20):
        net(image)
    assert share(net) < 0.5 and (tmp_path / "times.json").exists()


def test_restoring_after_it_gives_the_stock_network():
    net = timed()
    for image in clip(30):
        net(image)
    mmdyn.restore_model(net)
    assert type(net) is Timed and torch.equal(net(image), dense(image))


class Answering(Timed):
    """Writes its results into an argument too, as mmdet's detectors do."""

    def forward(self, x, answers=None):
        out = super().forward(x)
        if answers is not None:
            answers.found = out
        return out


def test_timing_the_stock_network_leaves_the_frame_its_results():
    net = converted(network(Answering), budget=0.3, replay=False, dense_fallback=True)
    frames = clip(2)
    runtime_of(net).fallback.table.clock = lambda: net.now
    net(frames[0])
    answers = types.SimpleNamespace(found=None)
    net(frames[1], answers)
    assert net.ran_dense == 3 and share(net) < 0.5
    assert isinstance(answers.found, BlockTensor)  # not the stock network's


def test_arguments_that_cannot_be_copied_stop_no_frame(caplog):
    net = converted(network(Answering), budget=0.3, replay=False, dense_fallback=True)
    for image in clip(5):
        net(image, types.SimpleNamespace(lock=threading.Lock()))
    assert share(net) < 0.5 and net.ran_dense == 0 and not runtime_of(net).fallback.enabled
    assert caplog.text.count("cannot be timed") == 1 and "lock" in caplog.text


class Counting(Timed):
    """Has a memory of its own: counts its frames in a buffer, a new buffer and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frames", torch.zeros(()))
        self.register_buffer("renewed", torch.zeros(()))
        self.number = 0

    def forward(self, x):
        self.frames += 1
        self.renewed = self.renewed + 1
        self.number += 1
        torch.rand(())
        if not isinstance(x, BlockTensor) and self.number == self.fails_at:
            raise OSError("no dense frames here")
        return super().forward(x)

    fails_at = 0


@pytest.mark.parametrize("fails_at", [0, 3])
def test_timing_does_not_advance_the_network_itself(fails_at):
    runs = []
    for fallback in (None, False):
        torch.manual_seed(0)
        net = converted(network(Counting), budget=0.3, replay=False, dense_fallback=fallback)
        net.fails_at = fails_at
        for image in clip(4):
            out = net(image)
        counts = [float(net.frames), float(net.renewed), net.number, float(torch.rand(()))]
        runs.append((counts, out))
    assert runs[0][0] == runs[1][0] and runs[0][0][:3] == [4, 4, 4]
    assert torch.equal(runs[0][1], runs[1][1])
