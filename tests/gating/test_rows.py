"""The index maths of sparse inference."""

import pytest
import torch
import torch.nn.functional as F

from mmdyn.gating.branch import ConvShape
from mmdyn.gating.rows import Places, Tiles, tap_rows
from tests.gating.residual import masks

SIZE = (9, 14)


def packed(x, places):
    """(M + 1, C) rows of a map, a zero row last."""
    rows = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])[places.flat]
    return torch.cat([rows, torch.zeros(1, x.shape[1])])


@pytest.mark.parametrize("name", ["full", "empty", "one", "some"])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (5, 1, 2), (1, 2, 1)]
)
def test_taps_are_the_columns_of_unfold(name, kernel, stride, dilation):
    shape = ConvShape(2, 2, (kernel,) * 2, (stride,) * 2, (dilation,) * 2)
    mask = masks(2, shape.out_size(SIZE))[name]
    x = torch.randn(2, 2, *SIZE)
    read = shape.read_by(mask.float(), SIZE)
    inputs, outputs = Places.of(read), Places.of(mask)
    taps = packed(x, inputs)[tap_rows(inputs, outputs, shape)]
    columns = F.unfold(x, kernel, dilation, shape.padding, stride)
    wanted = columns.view(2, 2, kernel**2, -1).permute(0, 3, 2, 1)[mask.flatten(2)[:, 0]]
    assert torch.equal(taps[:-1], wanted)
    assert not taps[-1].any()


def test_places_count_their_images():
    mask = torch.zeros(3, 1, 4, 5, dtype=torch.bool)
    mask[0, 0, :2] = True
    mask[2, 0, 1, 1] = True
    assert Places.of(mask).per_image().tolist() == [10, 0, 1]
    assert Places.of(mask[:1]).per_image().tolist() == [10]


@pytest.mark.parametrize("size", [(8, 12), (9, 14)])
@pytest.mark.parametrize("name", ["full", "empty", "one", "some"])
def test_tiles_hold_the_open_pixels(name, size):
    mask = masks(2, (-(-size[0] // 4), -(-size[1] // 4)))[name]
    tiles = Tiles(mask, 4, size)
    large = mask.repeat_interleave(4, 2).repeat_interleave(4, 3)[:, :, : size[0], : size[1]]
    assert torch.equal(tiles.places.flat.sort()[0], Places.of(large).flat)


def test_windows_read_zeros_outside_the_image_and_where_nothing_was_computed():
    shape = ConvShape(1, 1, (3, 3))
    x = torch.arange(1.0, 1 + 36).view(1, 1, 6, 6)
    mask = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    mask[0, 0, 1, 0] = True
    tiles = Tiles(mask, 4, (6, 6))
    inputs = Places.of(shape.read_by(
        mask.repeat_interleave(4, 2).repeat_interleave(4, 3)[:, :, :6, :6].float(), (6, 6)
    ))  # fmt: skip
    window = packed(x, inputs)[tiles.window_rows(inputs, shape)].view(6, 6)
    wanted = torch.zeros(6, 6)
    wanted[:3, 1:] = x[0, 0, 3:6, :5]
    assert torch.equal(window, wanted)
