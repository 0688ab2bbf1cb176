"""Index tables against arithmetic on coordinates."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdyn.blocks.tables import halo_table, ring_table, tap_table

CPU = torch.device("cpu")
sides = st.integers(1, 5)
depths = st.tuples(*[st.integers(0, 6)] * 4)


@given(sides, sides, depths)
def test_a_ring_is_what_lies_near_the_edges(height, width, depth):
    ring = ring_table((height, width), depth, CPU)
    top, bottom, left, right = depth
    wanted = [
        y * width + x
        for y in range(height)
        for x in range(width)
        if y < top or y >= height - bottom or x < left or x >= width - right
    ]
    positions = range(height * width) if ring.positions is None else ring.positions.tolist()
    assert list(positions) == wanted and ring.count == len(wanted)
    assert [int(ring.lookup[p]) for p in wanted] == list(range(len(wanted)))
    assert int((ring.lookup >= 0).sum()) == len(wanted)


def store_of(image, grid, block, ring):
    """(1 + cells * P,) ring store of a (H, W) image; row 0 holds -1."""
    rows = [torch.tensor([-1.0])]
    for cell in range(grid[0] * grid[1]):
        y, x = cell // grid[1] * block[0], cell % grid[1] * block[1]
        flat = image[y : y + block[0], x : x + block[1]].reshape(-1)
        rows.append(flat if ring.positions is None else flat[ring.positions])
    return torch.cat(rows)


@settings(max_examples=40)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.sampled_from([2, 4, 6]), st.sampled_from([2, 4])),
    st.tuples(*[st.integers(0, 5)] * 4),
    st.sampled_from(["constant", "replicate", "circular", "reflect"]),
    st.booleans(),
)
def test_halos_are_read_where_a_padded_image_has_them(grid, block, halo, mode, halves):
    scale = 2 if halves else 1
    size = (grid[0] * block[0], grid[1] * block[1])
    if mode in ("reflect", "circular"):
        limits = [side // scale - (mode == "reflect") for side in size]
        halo = tuple(min(h, limits[i // 2]) for i, h in enumerate(halo))
    image = torch.arange(size[0] * size[1]).view(size).float()
    depth = (scale * (max(halo) + 1),) * 4
    table = halo_table(grid, block, halo, depth, mode, halves, CPU)
    store = store_of(image, grid, block, ring_table(block, depth, CPU))
    got = store[table.rows]
    got = got.mean(2) if halves else got
    small = F.avg_pool2d(image[None, None], scale)
    top, bottom, left, right = halo
    value = -1.0 if mode == "constant" else None
    padded = F.pad(small, (left, right, top, bottom), mode, value)[0, 0]
    bh, bw = block[0] // scale, block[1] // scale
    assert table.area == (bh + top + bottom) * (bw + left + right)
    for cell, values in enumerate(got):
        y, x = cell // grid[1] * bh, cell % grid[1] * bw
        window = padded[y : y + bh + top + bottom, x : x + bw + left + right]
        assert torch.equal(values, window.reshape(-1)[table.places])


@pytest.mark.parametrize(
    "stride, pad, dilation", [((1, 1), (1, 1), (1, 1)), ((2, 1), (3, 5), (4, 5))]
)
def test_taps_are_what_unfold_reads(stride, pad, dilation):
    grid, block, kernel = (2, 3), (4, 3), (3, 3)
    image = torch.arange(8.0 * 9).view(8, 9) + 1
    out = (block[0] // stride[0], block[1] // stride[1])
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    after = [max(0, reach[i] - pad[i]) for i in range(2)]
    padded = F.pad(image[None, None], (pad[1], after[1], pad[0], after[0]))
    columns = F.unfold(padded, kernel, dilation, 0, stride)[0].t()
    columns = columns.view(8 // stride[0], -1, 9)
    store = store_of(image, grid, block, ring_table(block, (9, 9, 9, 9), CPU))
    store[0] = 0
    rows = tap_table(grid, block, out, kernel, stride, pad, dilation, CPU)
    for cell in range(6):
        y, x = cell // 3 * out[0], cell % 3 * out[1]
        wanted = columns[y : y + out[0], x : x + out[1]].reshape(-1, 9)
        assert torch.equal(store[rows[cell]], wanted)
