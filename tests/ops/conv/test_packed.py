"""The convolution compiled for blocks, and without it its reference, against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F

from mmdyn.ops.conv import Epilogue, PackedConv, packed, panels
from mmdyn.ops.conv.linear import PackedLinear, TapConv
from mmdyn.ops.conv.packed import PackedPanels, squares_pay, tiles_serve
from mmdyn.ops.conv.panels import pack_panels, packed_windows, pad_bias, unpack_panels
from mmdyn.ops.windows import reference as windows
from tests.ops.conv.drawn import close, draw, exact, located


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request) -> torch.dtype:
    compiled = torch._C._dispatch_has_kernel_for_dispatch_key("mmdyn::packed_rows", "CPU")
    if compiled and not packed.tiles_work(request.param):
        pytest.skip(f"this processor has no tiles in {request.param}")
    return request.param


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
