"""When the compiled convolutions serve, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from mmdyn.ops.conv import Epilogue, PackedConv, Windows, trial
from mmdyn.ops.conv.cpu import fused_conv_works
from mmdyn.ops.conv.linear import PackedLinear, fused_linear_works
from mmdyn.ops.conv.packed import PackedPanels
from mmdyn.ops.conv.panels import packed_rows, packed_windows
from mmdyn.ops.conv.trial import tiles_work

TRIALS = (trial._tiles_work, fused_linear_works, fused_conv_works)
ONE, NO_HALO, PLAIN = (1, 1), (0, 0, 0, 0), Epilogue()


@pytest.fixture
def compiled():
    with torch.no_grad():
        if not tiles_work():
            pytest.skip("not compiled, or a processor without AVX2")
        yield


@pytest.fixture
def untried():
    """As in a new process, and again afterwards."""
    for tried in TRIALS:
        tried.cache_clear()
    yield
    for tried in TRIALS:
        tried.cache_clear()


@pytest.mark.parametrize("name", ["packed_rows", "packed_windows"])
def test_wrong_results_are_not_served(compiled, monkeypatch, caplog, name):
    right = getattr(trial, name)
    monkeypatch.setattr(trial, name, lambda *args: right(*args) + 0.1)
    assert not trial.is_right(torch.float32)
    assert "wrong here in torch.float32" in caplog.text


def test_without_the_library_the_user_is_told_once(untried, monkeypatch, caplog):
    class Nothing:
        pass

    monkeypatch.setattr(torch.ops, "mmdyn", Nothing())
    monkeypatch.setattr(trial.compiled, "wanted", lambda: True)
    assert not tiles_work() and not tiles_work(torch.float32)
    assert caplog.text.count("run python -m mmdyn.ops.compiled once") == 1


def in_mode(name: str):
    if name == "fake":
        return FakeTensorMode()
    if name == "meta":
        return torch.device("meta")
    if name == "medium":
        return torch.enable_grad()
    return torch.autocast("cpu", getattr(torch, name))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", ["bfloat16", "float16", "fake", "meta", "medium"])
def test_the_first_use_may_be_in_any_mode(untried, mode, dtype):
    wanted = [tried(dtype) for tried in TRIALS]
    for tried in TRIALS:
        tried.cache_clear()
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium" if mode == "medium" else before)
        with in_mode(mode):
            assert [tried(dtype) for tried in TRIALS] == wanted
    finally:
        torch.set_float32_matmul_precision(before)


def test_fake_inputs_leave_nothing_behind():
    weight, x = torch.randn(16, 16, 3, 3), torch.randn(1, 16, 4, 4)
    conv = PackedConv(weight, None, ONE, ONE, 1)
    with torch.no_grad():
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            assert conv(mode.from_tensor(x), PLAIN).shape == (1, 16, 2, 2)
        torch.testing.assert_close(conv(x, PLAIN), F.conv2d(x, weight), rtol=1e-4, atol=1e-4)


def call(weight=(20, 16, 3, 3), blocks=(2, 16, 4, 4), store=(9, 16), index=(2, 20), halo=(1,) * 4,
         residual=None, bias=32, stride=ONE):  # fmt: skip
    located = torch.ones(store), torch.zeros(index, dtype=torch.int64)
    packed = PackedPanels(torch.ones(weight), None)
    return packed_windows(
        torch.ones(blocks), *located, None, halo, packed.packed(), weight[0], weight[2:],
        torch.ones(bias), stride, ONE, False, None if residual is None else torch.ones(residual),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (dict(blocks=(2, 32, 4, 4), store=(9, 32)), "as many channels as the weight has, got 32"),
        (dict(store=(9, 8)), "a store of rows like the blocks"),
        (dict(index=(2, 19)), "an index of 40 halo pixels"),
        (dict(residual=(2, 20, 1, 1)), "a residual of the shape of the output"),
        (dict(bias=20), "a float32 bias padded to 32"),
        (dict(blocks=(2, 16, 1, 1), halo=NO_HALO, index=(2, 0)), "1 pixels for 3"),
        (dict(stride=(0, 1)), "a window that the kernel fits in"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(compiled, wrong, says):
    assert call().shape == (2, 20, 4, 4)
    with pytest.raises(RuntimeError, match=says):
        call(**wrong)


def test_rows_that_do_not_fit_are_refused(compiled):
    packed = PackedPanels(torch.ones(20, 16, 1, 1), None)
    with pytest.raises(RuntimeError, match="as many channels as the weight has, got 24"):
        packed.rows(torch.ones(5, 24), None, PLAIN, None)
    with pytest.raises(RuntimeError, match="as many channels"):
        PackedLinear(torch.ones(16, 8), None)(torch.ones(5, 24))
    with pytest.raises(RuntimeError, match="as many channels"):
        packed_rows(torch.ones(5, 16), None, torch.ones(0, 16, 32), 0, None, False, None)


def test_a_network_wired_wrongly_raises_on_blocks_as_it_does_dense(compiled):
    conv = PackedConv(torch.ones(16, 64, 3, 3), None, ONE, ONE, 1)
    x = torch.ones(2, 32, 4, 4)
    halo = Windows(x, torch.ones(9, 32), torch.zeros(2, 20, dtype=torch.int64), None, (1,) * 4)
    for wrong in (x, halo):
        with pytest.raises(RuntimeError, match="channels"):
            conv(wrong, PLAIN)
