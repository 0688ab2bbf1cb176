"""Axes in another order keep their blocks, and a view writes through to what it is a view of."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmdyn.blocks import BlockGrid, BlockTensor, Frame, LaidOutBlocks, Level, split
from tests.blocks.clips import TOLERANCE, as_dense, relative_error

KERNEL = torch.randn(8, 8, 3, 3, generator=torch.Generator().manual_seed(0))


def blocks_of(image):
    grid = BlockGrid.filled(Level.FULL, image.shape[0], (2, 2), (16, 16))
    return split(Frame(grid), image, (16, 16))


def compare(function, all_blocks=False):
    image = torch.randn(1, 8, 32, 32)
    with torch.no_grad():
        wanted = function(image.clone())
        x = blocks_of(image)
        got = function(x)
    for a, b in zip(got, wanted):
        assert relative_error(as_dense(a), b) <= TOLERANCE[torch.float32]
    if all_blocks:
        assert all(isinstance(a, (BlockTensor, LaidOutBlocks)) for a in got)
        assert not x.frame.dense_sites


def conv(x):
    return F.conv2d(x, KERNEL, padding=1)


def test_a_channels_last_sandwich_stays_on_blocks():
    norm, wide, narrow = nn.LayerNorm(8), nn.Linear(8, 12), nn.Linear(12, 8)

    def convnext(x):
        y = norm(conv(x).permute(0, 2, 3, 1))
        y = narrow(F.gelu(wide(y))).permute(0, 3, 1, 2)
        return [x + y.mul(torch.full((1, 8, 1, 1), 0.5))]

    compare(convnext, all_blocks=True)


def test_tokens_and_back_stay_on_blocks():
    norm, scale = nn.LayerNorm(8), torch.randn(8)

    def block(x):
        n, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + norm(tokens) * scale
        back = conv(tokens.permute(0, 2, 1).view(n, c, h, w))
        return back, back.view(n, c, h * w), back.reshape(n, c, -1).permute(0, 2, 1)

    compare(block, all_blocks=True)


def test_what_mixes_channels_and_pixels_is_exact():
    def views(x):
        last = x.permute(0, 2, 3, 1)
        return (
            x.view(1, 2, 4, 32, 32).transpose(1, 2).reshape(1, 8, 32, 32), x.view(8, 1024),
            last.reshape(-1, 8), last[..., 0:2], x.permute(3, 0, 1, 2), x.unsqueeze(1),
        )  # fmt: skip

    compare(views)


def test_attention_over_tokens_is_exact():
    def attend(x):
        tokens = x.flatten(2).transpose(1, 2)
        query, key = tokens.chunk(2, -1)
        return [(query @ key.transpose(1, 2)).softmax(-1) @ tokens + tokens]

    compare(attend)


def _scaled_view(view):
    def function(x):
        x = conv(x)
        seen = view(x)
        seen.mul_(2.0)
        return x, seen

    return function


def _scaled_source(view):
    def function(x):
        x = conv(x)
        seen = view(x)
        x.mul_(2.0)
        return x, seen

    return function


@pytest.mark.parametrize("order", [_scaled_view, _scaled_source])
@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[:, 2:5],
        lambda x: x.chunk(2, 1)[1],
        lambda x: x.flatten(2),
        lambda x: x.permute(0, 2, 3, 1),
        lambda x: x.squeeze(0),
        lambda x: x.view(1, 2, 4, 32, 32),
        lambda x: x[:, :, 0],
    ],
)
def test_views_and_their_source_follow_each_other(order, view):
    compare(order(view))


def test_a_result_keeps_its_value_when_its_source_is_written_later():
    def function(x):
        x = conv(x)
        active, padded = F.relu(x), F.pad(x, (1, 1, 1, 1))
        x.mul_(3.0)
        return active, F.conv2d(padded, KERNEL), x

    compare(function)


def test_out_is_written():
    def function(x):
        x = conv(x)
        torch.add(x, 1, out=x)
        return [x]

    compare(function)
