"""Convolutions of few channels, computed one channel of many squares at a time."""

import pytest
import torch
import torch.nn.functional as F

from mmdyn.ops.conv import Epilogue, packed, panels
from mmdyn.ops.conv.packed import PackedPanels, lanes
from mmdyn.ops.conv.panels import packed_windows, pad_bias
from mmdyn.ops.windows import reference as windows
from tests.ops.conv.drawn import close, draw, exact, located


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def most_lanes() -> int:
    return packed._LANES.get(packed._bits(), 24)


needs_lanes = pytest.mark.skipif(not packed._bits(), reason="nothing is compiled here")


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "side", [(1, 8), (2, 32), (9, 16), (31, 31), (5, 24), (40, 8), (3, 7)], ids=str
)
@pytest.mark.parametrize("channels, outputs", [(16, 18), (20, 36), (40, 5), (33, 24), (17, 64)])
def test_few_channels(side, channels, outputs, threads, request):
    """A register to one channel of many squares, one, two or four rows of them."""
    before = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(before))
    torch.set_num_threads(threads)
    x = located(3, channels, side, (1, 1, 1, 1), False, torch.float32)
    weight, bias = draw(outputs, channels, 3, 3), draw(outputs)
    whole = windows.gather_windows(*x)
    plain = F.conv2d(exact(whole), exact(weight), exact(bias))
    other = draw(*plain.shape, seed=3).to(memory_format=torch.channels_last)
    for panel in {1, 11, *(min(n, most_lanes()) for n in (outputs // 2, outputs))}:
        weights, rest = panels.pack_squares(weight, panel), (outputs, (3, 3))
        for relu, residual, b in [(False, None, None), (True, other, bias), (False, other, bias)]:
            wanted = plain if b is not None else plain - exact(bias)[:, None, None]
            wanted = Epilogue("relu" if relu else None)(wanted.clone(), exact(residual))
            for source in (x, (whole, None, None, None, (0, 0, 0, 0))):
                args = (pad_bias(b), (1, 1), (1, 1), relu, residual)
                close(packed_windows(*source, weights, *rest, *args), wanted)


@needs_lanes
def test_few_channels_are_computed_so():
    """Where `lanes` says, `PackedPanels` takes them; elsewhere registers of channels."""
    assert lanes(32, 18) == (18 if most_lanes() == 24 else 9)
    assert lanes(8, 20) and lanes(7, 20) and lanes(24, 20)
    assert not lanes(20, 18) and not lanes(4, 18) and not lanes(32, 128)
    for width, dilation, panel in [(8, 1, lanes(8, 18)), (10, 1, 32), (8, 2, 32)]:
        halo = 2 * dilation
        x = draw(2, 16, 4 + halo, width + halo).to(memory_format=torch.channels_last)
        ours = PackedPanels(weight := draw(18, 16, 3, 3), None)
        got = ours.windows(x, (1, 1), (dilation,) * 2, Epilogue(), None)
        close(got, F.conv2d(exact(x), exact(weight), dilation=dilation))
        assert list(ours._packed) == [panel]


@needs_lanes
@pytest.mark.parametrize(
    "channels, width, panel, dilation, message",
    [
        (16, 6, 8, 1, "squares by fours"),
        (8, 8, 8, 2, "no dilation"),
        (4, 8, 8, 1, "channels"),
        (16, 8, 25, 1, "output channels a pass"),
    ],
)
def test_what_few_channels_need(channels, width, panel, dilation, message):
    x = draw(1, channels, 4 + 2 * dilation, width + 2 * dilation)
    weights = panels.pack_squares(draw(30, channels, 3, 3), panel)
    args = ((0,) * 4, weights, 30, (3, 3), None, (1, 1), (dilation,) * 2, False, None)
    with pytest.raises(RuntimeError, match=message):
        packed_windows(x, None, None, None, *args)


def test_few_channels_keep_nan():
    x = draw(1, 16, 10, 10).to(memory_format=torch.channels_last)
    x[0, :, 4, 4] = float("nan")
    got = PackedPanels(draw(18, 16, 3, 3), None).windows(x, (1, 1), (1, 1), Epilogue("relu"), None)
    assert got[0, :, 2:5, 2:5].isnan().all() and not got[0, :, :2].isnan().any()
