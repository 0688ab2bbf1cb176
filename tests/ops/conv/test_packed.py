"""The convolution compiled for blocks, and without it its reference, against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F

from mmdyn.ops.conv import Epilogue, PackedConv, Windows, packed, panels
from mmdyn.ops.conv.linear import PackedLinear, TapConv
from mmdyn.ops.conv.packed import PackedPanels, lanes, squares_pay, tiles_serve
from mmdyn.ops.conv.panels import pack_panels, packed_windows, pad_bias, unpack_panels
from mmdyn.ops.windows import reference as windows


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def draw(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(got, wanted) -> None:
    assert got.shape == wanted.shape
    scale = max([1.0, *wanted[wanted.isfinite()].abs().flatten().tolist()])
    near = 2e-5 if got.dtype == torch.float32 else 1e-2
    torch.testing.assert_close(
        got.double(), wanted.double(), rtol=0, atol=near * scale, equal_nan=True
    )


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request) -> torch.dtype:
    compiled = torch._C._dispatch_has_kernel_for_dispatch_key("mmdyn::packed_rows", "CPU")
    if compiled and not packed.tiles_work(request.param):
        pytest.skip(f"this processor has no tiles in {request.param}")
    return request.param


def exact(x: torch.Tensor | None) -> torch.Tensor | None:
    return None if x is None else x.double()


def located(n: int, channels: int, side, halo, means: bool, dtype: torch.dtype) -> Windows:
    """Blocks, and halos drawn from a store of 50 rows."""
    blocks = draw(n, channels, *side).to(dtype).to(memory_format=torch.channels_last)
    height, width = side[0] + halo[0] + halo[1], side[1] + halo[2] + halo[3]
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[halo[0] : halo[0] + side[0], halo[2] : halo[2] + side[1]] = True
    places = (~inside).flatten().nonzero().flatten()
    count = len(places)
    shape = (n, count, 4) if means else (n, count)
    index = torch.randint(0, 50, shape, generator=torch.Generator().manual_seed(1))
    all_places = (torch.arange(n)[:, None] * height * width + places).flatten()
    return Windows(blocks, draw(50, channels, seed=2).to(dtype), index, all_places, halo)


@pytest.mark.parametrize("outputs", [1, 8, 18, 32, 40, 72])
@pytest.mark.parametrize("channels", [16, 18, 64])
def test_panels_hold_the_weight(outputs, channels, dtype):
    weight = draw(outputs, channels, 3, 2).to(dtype)
    assert torch.equal(unpack_panels(pack_panels(weight), outputs, (3, 2), channels), weight)


@pytest.mark.parametrize("means", [False, True], ids=["rows", "means"])
@pytest.mark.parametrize(
    "kernel, stride, dilation, halo",
    [
        ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
        ((3, 3), (2, 2), (1, 1), (1, 0, 1, 0)),
        ((3, 3), (1, 1), (4, 4), (4, 4, 4, 4)),
        ((1, 3), (1, 1), (1, 1), (0, 0, 1, 1)),
        ((5, 2), (1, 2), (1, 1), (2, 2, 0, 0)),
        ((3, 3), (1, 1), (1, 1), (2, 0, 0, 2)),
    ],
    ids=str,
)
@pytest.mark.parametrize("side", [(2, 2), (4, 6)], ids=str)
@pytest.mark.parametrize("channels, outputs", [(48, 64), (24, 5)])
def test_halos_are_read_where_they_lie(
    kernel, stride, dilation, halo, side, channels, outputs, means, dtype
):
    x = located(5, channels, side, halo, means, dtype)
    weight, bias = draw(outputs, channels, *kernel).to(dtype), draw(outputs).to(dtype)
    whole = windows.gather_windows(*x)
    plain = F.conv2d(exact(whole), exact(weight), exact(bias), stride, 0, dilation)
    other = draw(*plain.shape, seed=3).to(dtype).to(memory_format=torch.channels_last)
    panels = PackedPanels(weight, bias)
    for epilogue in (Epilogue(), Epilogue("relu"), Epilogue("leaky_relu", (0.1,))):
        for residual in (None, other):
            wanted = epilogue(plain.clone(), exact(residual))
            for source in (x, whole):
                got = panels.windows(source, stride, dilation, epilogue, residual)
                assert got.is_contiguous(memory_format=torch.channels_last)
                close(got, wanted)


@pytest.mark.parametrize("means", [False, True], ids=["rows", "means"])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 2), (1, 3), (5, 2)], ids=str)
@pytest.mark.parametrize("side", [(2, 2), (3, 5), (8, 6), (1, 7), (13, 4)], ids=str)
@pytest.mark.parametrize("channels, outputs", [(16, 40), (48, 64), (520, 5)])
def test_squares_of_outputs(dilation, side, channels, outputs, means):
    halo = (dilation[0], dilation[0], dilation[1], dilation[1])
    x = located(3, channels, side, halo, means, torch.float32)
    weight, bias = draw(outputs, channels, 3, 3), draw(outputs)
    whole = windows.gather_windows(*x)
    plain = F.conv2d(exact(whole), exact(weight), exact(bias), 1, 0, dilation)
    other = draw(*plain.shape, seed=3).to(memory_format=torch.channels_last)
    weights, rest = panels.pack_squares(weight), (outputs, (3, 3))
    for relu in (False, True):
        for residual in (None, other):
            wanted = Epilogue("relu" if relu else None)(plain.clone(), exact(residual))
            for source in (x, (whole, None, None, None, (0, 0, 0, 0))):
                for b in (pad_bias(bias), None):
                    got = packed_windows(
                        *source, weights, *rest, b, (1, 1), dilation, relu, residual
                    )
                    if b is not None:
                        close(got, wanted)
                    elif not relu:
                        close(got, wanted - exact(bias)[:, None, None])


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


def test_squares_are_as_near_as_taps():
    x, weight = draw(4, 256, 10, 10).to(memory_format=torch.channels_last), draw(64, 256, 3, 3)
    wanted = F.conv2d(exact(x), exact(weight))
    scale = wanted.abs().max()
    panels = PackedPanels(weight, None)
    errors = {}
    for squares in (True, False):
        args = ((3, 3), None, (1, 1), (1, 1), False, None)
        got = packed_windows(x, None, None, None, (0,) * 4, panels.packed(32 * squares), 64, *args)
        errors[squares] = float((got - wanted).abs().max() / scale)
    assert errors[True] < 3e-6 and errors[True] < 2 * errors[False]


def test_where_squares_are_taken():
    weight = torch.zeros(8, 16, 3, 3)
    one, two = (1, 1), (2, 2)
    assert squares_pay((8, 8), weight, one, one) and squares_pay((5, 3), weight, one, one)
    assert squares_pay((8, 8), weight, one, two) and not squares_pay((8, 8), weight, one, (6, 6))
    assert not squares_pay((1, 1), weight, one, one) and not squares_pay((8, 8), weight, two, one)
    assert not squares_pay((8, 8), weight.bfloat16(), one, one)
    assert not squares_pay((8, 8), torch.zeros(8, 16, 1, 3), one, one)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("rows", [0, 1, 5, 13, 14, 15, 111, 112, 113, 500])
@pytest.mark.parametrize("outputs", [1, 16, 33, 96])
def test_any_number_of_rows(rows, outputs, threads, dtype):
    shapes = ((rows, 20), (outputs, 20, 1, 1), (outputs,))
    store, weight, bias = (draw(*shape, seed=i).to(dtype) for i, shape in enumerate(shapes))
    plain = exact(store) @ exact(weight).flatten(1).t()
    wanted = torch.relu(plain + bias).to(dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        close(PackedPanels(weight, bias).rows(store, None, Epilogue("relu"), None), wanted)
        close(PackedPanels(weight, None).rows(store, None, Epilogue(), wanted), plain + wanted)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("channels", [512, 1024, 2048])
def test_deep_inputs_whose_rows_lie_whole_pages_apart(channels, dtype):
    store, weight = draw(60, channels).to(dtype), draw(40, channels, 2, 2).to(dtype)
    index = torch.randint(0, 60, (30, 4), generator=torch.Generator().manual_seed(4))
    picked = store[index].flatten(1).double()
    wanted = picked @ weight.permute(2, 3, 1, 0).flatten(0, 2).double()
    close(PackedPanels(weight, None).rows(store, index, Epilogue(), None), wanted)


@pytest.mark.parametrize("side", [5, 6])  # by taps, and in squares
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number_stays_where_it_is_read(bad, side, dtype):
    x = draw(2, 16, side, side).to(dtype).to(memory_format=torch.channels_last)
    x[1, 3, 1, 2] = bad
    weight = draw(20, 16, 3, 3).to(dtype)
    wanted = F.conv2d(x, weight)
    got = PackedPanels(weight, None).windows(x, (1, 1), (1, 1), Epilogue(), None)
    reads = ~wanted[1].isfinite().all(0)
    squares = dtype == torch.float32 and side == 6 and packed.tiles_work()
    if squares:  # all four outputs of those that read the pixel
        reads = F.max_pool2d(reads[None].float(), 2) > 0
        reads = reads[0].repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert not got[1].isfinite()[:, ~wanted[1].isfinite().all(0)].any()
    assert got[1].isfinite()[:, ~reads].all()
    assert squares or torch.equal(got.isnan(), wanted.isnan())
    close(got[:1], wanted[:1])
    close(got[1][:, ~reads], wanted[1][:, ~reads])


def test_what_is_served():
    rows = draw(4, 16)
    assert tiles_serve(rows) == packed.tiles_work()
    assert tiles_serve(rows.bfloat16()) == packed.tiles_work(torch.bfloat16)
    for x in (rows.double(), rows.half(), rows[:, :15], rows.to("meta")):
        assert not tiles_serve(x)
    assert not tiles_serve(rows, groups=2)


@pytest.mark.parametrize("size, stride, pays", [
    ((10, 6), 2, True), ((10, 6), 1, False), ((5, 5), 1, True), ((11, 9), 2, True),
    ((12, 11), 2, False),
])  # fmt: skip
def test_what_a_stride_leaves_out_does_not_count(size, stride, pays):
    if not packed.tiles_work():
        pytest.skip("not compiled, or a processor without AVX2")
    x, weight = draw(3, 32, *size).to(memory_format=torch.channels_last), draw(24, 32, 1, 1)
    conv = PackedConv(weight, None, (stride, stride), (1, 1), 1)
    close(conv(x), F.conv2d(x, weight, None, stride))
    assert (conv._panels is not None) == pays


@pytest.mark.parametrize("served", [False, True])
def test_the_classes_give_the_same_either_way(monkeypatch, served):
    if served and not packed.tiles_work():
        pytest.skip("not compiled, or a processor without AVX2")
    monkeypatch.setattr(packed, "tiles_work", lambda dtype: served)
    x, weight, bias = draw(3, 32, 6, 6), draw(24, 32, 3, 3), draw(24)
    x = x.to(memory_format=torch.channels_last)
    conv = PackedConv(weight, bias, (1, 1), (1, 1), 1)
    close(conv(x, Epilogue("relu")), torch.relu(F.conv2d(x, weight, bias)))
    assert (conv._panels is not None) == served
    rows = draw(40, 32)
    linear = PackedLinear(weight[:, :, 0, 0].t().contiguous(), bias)
    close(linear(rows), rows @ weight[:, :, 0, 0].t() + bias)
    index = torch.randint(0, 40, (7, 9), generator=torch.Generator().manual_seed(5))
    taps = TapConv(weight, bias, depthwise=False)
    wanted = rows[index].flatten(1) @ weight.permute(2, 3, 1, 0).flatten(0, 2) + bias
    close(taps(rows, index, Epilogue(), None), wanted)


def test_a_cast_network_is_not_served_by_old_panels():
    conv = PackedConv(draw(8, 16, 1, 1), None, (1, 1), (1, 1), 1)
    x = draw(2, 16, 3, 3).double()
    with pytest.raises(RuntimeError):
        conv(x)  # the weight is float32: nothing converts silently
