"""Convolutions that read halos where they lie, as on a GPU: the same laws, and nothing gathered."""

import pytest
import torch
import torch.nn.functional as F

from mmdyn.blocks.rules import spatial
from mmdyn.ops.conv import cpu, linear
from tests.blocks.clips import Clip, assert_close
from tests.blocks.rules.laws import check_frames
from tests.blocks.rules.test_convolution import check, image_of, weight_of


@pytest.fixture(params=["reference", "triton"], autouse=True)
def calls(request, monkeypatch) -> list:
    """Serves convolutions as where Triton is, on the CPU; a list of the calls."""
    seen: list = []
    served = dict(conv_windows=(cpu, cpu.conv_windows), conv_taps=(linear, linear.conv_taps))
    for name, (room, function) in served.items():
        if request.param == "triton":
            pytest.importorskip("triton")
            kernels = pytest.importorskip("mmdyn.ops.conv.triton_kernel")
            function = getattr(kernels, name)
        monkeypatch.setattr(
            room, name, lambda *args, f=function, n=name: (seen.append(n), f(*args))[1]
        )
    for room in (spatial, linear):
        monkeypatch.setattr(room, "reads_in_place", lambda *args: True)
    return seen


@pytest.mark.parametrize("cells", ["none", "one", "some", "all"])
@pytest.mark.parametrize(
    "kernel, stride, padding, dilation, groups",
    [
        ((3, 3), 1, (1, 1), 1, 1),
        ((3, 3), 2, (1, 1), 1, 2),
        ((3, 3), 1, (1, 1), 1, 4),
        ((3, 3), 1, (6, 6), 6, 1),
        ((5, 2), 2, (2, 0), 1, 1),
    ],
    ids=str,
)
def test_geometry(kernel, stride, padding, dilation, groups, cells, calls):
    weight, bias = weight_of(8, groups, kernel), torch.linspace(-1, 1, 8)
    args = (stride, padding, dilation, groups)
    check(lambda v: F.conv2d(v, weight, bias, *args), image_of((1, 2, 3), (8, 8)), (8, 8), cells)
    assert calls


def test_explicit_padding(calls):
    weight = weight_of(3, 1, (3, 3))
    for mode in ("reflect", "replicate", "circular"):
        check(
            lambda v, m=mode: F.conv2d(F.pad(v, (1, 1, 1, 1), m), weight),
            image_of((2, 2, 2), (8, 6)), (8, 6), "some",
        )  # fmt: skip
    assert set(calls) == {"conv_windows"}


def test_mixed_levels():
    weight = weight_of(4, 1, (3, 3))
    check_frames(lambda v: F.conv2d(v, weight, None, 1, 1), block=(8, 8))


@pytest.mark.parametrize("dilation", [1, 6])
def test_half_blocks(dilation, calls):
    x, weight = image_of((1, 2, 3), (16, 12)), weight_of(8, 1, (3, 3))

    def function(v):
        return F.conv2d(v, weight, None, 1, dilation, dilation)

    with torch.no_grad():
        out = Clip(function, (16, 12), remembers=False).run(x, torch.full((1, 2, 3), 2))
    wanted = function(F.avg_pool2d(x, 2)).view(1, 8, 2, 8, 3, 6).permute(0, 2, 4, 1, 3, 5)
    assert_close(out.halves, wanted.reshape(6, 8, 8, 6))
    assert calls


def test_what_is_written_before_the_convolution_runs_is_read_before():
    weight = weight_of(4, 1, (3, 3))

    def function(v):
        v = v * 1.0
        out = F.conv2d(v, weight, None, 1, 1)
        v.mul_(-3.0)
        return F.relu_(out + v)

    def on_image(v):
        return function(v.clone())

    check(on_image, image_of((1, 2, 2), (8, 8)), (8, 8), "some")


def test_the_epilogue_is_part_of_it(calls):
    weight, mean, scale = weight_of(4, 1, (3, 3)), torch.linspace(-1, 1, 4), torch.ones(4) * 2

    def function(v):
        out = F.batch_norm(F.conv2d(v, weight, None, 1, 1), mean, scale, mean, scale)
        return F.relu(out + v)

    check(function, image_of((1, 2, 2), (8, 8)), (8, 8), "some")
    assert calls == ["conv_windows"] * 2
