"""Smaller pictures and larger windows, against what they are said to be."""

import pytest
import torch
import torch.nn.functional as F

from mmdyn.ops.pictures import enlarge, patch_statistics, reference, shrink

FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def image(channels: int, dtype, memory) -> torch.Tensor:
    return torch.randn(2, channels, 26, 44).to(dtype).contiguous(memory_format=memory)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize("channels", [1, 3, 12])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_shrinking_takes_means_and_leaves_out_the_rest(dtype, memory, channels, factor):
    x = image(channels, dtype, memory)
    small = shrink(x, factor)
    h, w = 26 // factor, 44 // factor
    whole = x.float()[:, :, : h * factor, : w * factor]
    wanted = whole.reshape(2, channels, h, factor, w, factor).mean((3, 5))
    assert small.dtype == torch.float32 and small.shape == wanted.shape
    assert torch.allclose(small, wanted, atol=1e-6)
    assert small.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize("channels", [1, 3, 12])
@pytest.mark.parametrize("step", [2, 4, 8])
@pytest.mark.parametrize("size", [(24, 40), (8, 8), (136, 16)])
def test_patches_know_their_mean_and_what_halving_loses(dtype, memory, channels, step, size):
    x = (3.0 * torch.randn(2, channels, *size) + 40.0).to(dtype).contiguous(memory_format=memory)
    means, detail, moments = patch_statistics(x, step)
    x = x.double()
    doubled = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2)
    lost = F.avg_pool2d((x - doubled).abs().mean(1, keepdim=True), step)
    some = x[:, :, ::2, ::2].flatten(1)
    wanted = F.avg_pool2d(x, step), lost, torch.stack([some.mean(1), some.std(1)], 1)
    for got, exact in zip((means, detail, moments), wanted, strict=True):
        assert got.dtype == torch.float32 and got.shape == exact.shape
        assert torch.allclose(got.double(), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:std")  # of one number, in the reference
def test_patches_that_are_flat_or_no_numbers():
    flat = torch.full((1, 3, 8, 16), 123.456)
    means, detail, moments = patch_statistics(flat, 4)
    assert torch.allclose(means, flat[:, :, ::4, ::4]) and not detail.any()
    assert moments[0, 1] < 1e-4
    flat[0, 1, 5, 9] = float("nan")
    means, detail, moments = patch_statistics(flat, 4)
    assert means.isnan().nonzero().tolist() == [[0, 1, 1, 2]]
    assert detail.isnan().nonzero().tolist() == [[0, 0, 1, 2]]
    assert patch_statistics(torch.ones(1, 1, 2, 2), 2)[2].isnan().tolist() == [[False, True]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize("factor", [(1, 1), (2, 2), (4, 4), (3, 1), (1, 5)])
def test_windows_enlarge_as_their_map_does(dtype, memory, factor):
    """The windows of a map's cells, put together, are the enlarged map."""
    whole = torch.randn(1, 6, 8, 12).to(dtype)
    padded = F.pad(whole, (1, 1, 1, 1), mode="replicate")
    windows = padded.unfold(2, 6, 4).unfold(3, 6, 4)[0].permute(1, 2, 0, 3, 4).reshape(6, 6, 6, 6)
    out = enlarge(windows.contiguous(memory_format=memory), *factor)
    h, w = 4 * factor[0], 4 * factor[1]
    joined = out.view(2, 3, 6, h, w).permute(2, 0, 3, 1, 4).reshape(1, 6, 2 * h, 3 * w)
    size = (8 * factor[0], 12 * factor[1])
    wanted = F.interpolate(whole.double(), size, mode="bilinear", align_corners=False)
    close = 8 * torch.finfo(dtype).eps
    assert out.dtype == dtype and out.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(joined.double(), wanted, atol=close)


def test_no_windows_enlarge_to_none_and_bad_pixels_stay_bad():
    assert enlarge(torch.empty(0, 5, 6, 8), 2, 4).shape == (0, 5, 8, 24)
    for dtype in (torch.float32, torch.bfloat16):
        windows = torch.zeros(1, 2, 4, 4, dtype=dtype)
        windows[0, 0, 1, 1], windows[0, 1, 2, 2] = float("nan"), float("inf")
        out, other = enlarge(windows, 2, 2), reference.enlarge(windows, 2, 2)
        assert torch.equal(out[0, 0].isnan(), other[0, 0].isnan()) and out[0, 0].isnan().any()
        assert torch.equal(out[0, 1].isinf(), other[0, 1].isinf()) and out[0, 1].isinf().any()


def test_gradients_flow_where_they_are_recorded():
    with torch.enable_grad():
        x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda v: enlarge(v, 2, 2), x)
