"""RoIAlign against mmcv's, and what it refuses."""

import pytest
import torch

from mmdyn.ops.rois import aligns, reference, roi_align

FORMATS = [torch.contiguous_format, torch.channels_last]


def regions(count: int) -> torch.Tensor:
    """Inside, across the border, outside, and of no size."""
    torch.manual_seed(count)
    corners = torch.rand(count, 2) * 90 - 15
    boxes = torch.cat([corners, corners + torch.rand(count, 2) * 60], 1)
    boxes[0, 2:] = boxes[0, :2]
    boxes[1] = torch.tensor([-200.0, -200.0, -150.0, -150.0])
    boxes[2] = torch.tensor([10.0, 20.0, 300.0, 21.0])
    return torch.cat([torch.arange(count)[:, None] % 2, boxes], 1)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(7, 7), (2, 5)])
def test_it_is_that_of_mmcv(memory, aligned, sampling, size):
    ops = pytest.importorskip("mmcv.ops")
    x, rois = torch.randn(2, 37, 16, 21).contiguous(memory_format=memory), regions(23)
    stock = ops.RoIAlign(size, 0.25, sampling, aligned=aligned)
    wanted = stock(x.contiguous(), rois)
    rest = (rois, list(size), 0.25, sampling, aligned)
    for call in (roi_align, reference.roi_align):
        got = call(x, *rest)
        assert got.shape == wanted.shape and got.is_contiguous()
        assert torch.allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling", [0, 1])
def test_samples_on_the_border_are_inside_where_they_are_in_mmcv(aligned, sampling):
    ops = pytest.importorskip("mmcv.ops")
    x = torch.randn(1, 4, 2, 13).contiguous(memory_format=torch.channels_last)
    starts = torch.arange(-10.0, 50.0).repeat_interleave(5)[:, None]
    box = torch.cat([starts, starts * 0 + 1, starts + torch.arange(5.0).repeat(60)[:, None]], 1)
    rois = torch.cat([starts * 0, box, starts * 0 + 4], 1)
    wanted = ops.RoIAlign((3, 14), 0.3, sampling, aligned=aligned)(x.contiguous(), rois)
    for call in (roi_align, reference.roi_align):
        got = call(x, rois, [3, 14], 0.3, sampling, aligned)
        assert torch.allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize("side", [1e5, 1e9, 1e12, 1e20, 3e38])
def test_a_region_of_any_size_takes_no_longer_than_the_map(side):
    x = torch.ones(1, 4, 6, 9).contiguous(memory_format=torch.channels_last)
    boxes = [[0, -side, -side, side, side], [0, -side, 1, side, 2], [0, side, side, side, side]]
    rois = torch.tensor([*boxes, [0, 3.0, side, -side, -side]])
    if torch._C._dispatch_has_kernel_for_dispatch_key("mmdyn::roi_align", "CPU"):
        for sampling in (0, 2):
            out = roi_align(x, rois, [7, 7], 0.25, sampling, True)
            assert out.isfinite().all() and out.abs().max() <= (1.0 if sampling else 1e-2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_any_type(dtype):
    x, rois = torch.randn(2, 20, 9, 12), regions(6)
    exact = reference.roi_align(x.to(dtype).double(), rois, [3, 3], 0.125, 0, True)
    got = roi_align(x.to(dtype).contiguous(memory_format=torch.channels_last),
                    rois, [3, 3], 0.125, 0, True)  # fmt: skip
    eps = max(torch.finfo(dtype).eps, 1e-6)
    assert got.dtype == dtype and torch.allclose(got.double(), exact, rtol=2 * eps, atol=2 * eps)


def test_regions_that_are_none():
    x = torch.randn(1, 4, 6, 6).contiguous(memory_format=torch.channels_last)
    assert roi_align(x, torch.empty(0, 5), [7, 7], 1.0, 0, True).shape == (0, 4, 7, 7)
    rois = torch.tensor([[0, 1, 1, float("inf"), 3], [0, float("nan"), 1, 2, 3], [0, 1, 1, 4, 4]])
    for call in (roi_align, reference.roi_align):
        out = call(x, rois, [2, 2], 1.0, 0, True)
        assert not out[:2].any() and out[2].all()
        for image in (-1.0, 1.0):
            with pytest.raises(RuntimeError, match="expected RoIs of 1 images, got one of"):
                call(x, torch.tensor([[image, 1, 1, 4, 4]]), [2, 2], 1.0, 0, True)


def test_a_pixel_that_is_no_number_spoils_its_regions_only():
    x = torch.ones(1, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    x[0, 1, 2, 2] = float("nan")
    rois = torch.tensor([[0, 1.0, 1, 3, 3], [0, 5.0, 5, 7, 7]])
    out = roi_align(x, rois, [1, 1], 1.0, 0, False)
    assert out.isnan().flatten().tolist() == [False, True, False, False, False, False]


def test_who_is_served():
    x, rois = torch.randn(1, 4, 6, 6).contiguous(memory_format=torch.channels_last), regions(4)
    compiled = torch._C._dispatch_has_kernel_for_dispatch_key("mmdyn::roi_align", "CPU")
    assert aligns(x, rois) == compiled
    assert not aligns(x.contiguous(), rois) and not aligns(x.double(), rois)
    assert not aligns(x, rois.double())
    with torch.enable_grad():
        assert not aligns(x, rois)


def test_gradients_of_the_reference():
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 1.0, 1, 4, 3.5], [0, -1.0, 0, 9, 2]])
    with torch.enable_grad():
        assert torch.autograd.gradcheck(lambda v: roi_align(v, rois, [2, 3], 0.9, 0, True), x)
