"""The convolutions over block lists against their references; without a GPU interpreted."""

import pytest
import torch

from mmdyn.blocks import BlockGrid, Frame, Level, split
from mmdyn.blocks.rules.spatial import plan_window
from mmdyn.ops.cells import gather_cells
from mmdyn.ops.conv import reference
from mmdyn.ops.conv.reference import ACTIVATIONS

pytest.importorskip("triton")
kernels = pytest.importorskip("mmdyn.ops.conv.triton_kernel")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CELLS = {"none": [], "one": [3], "some": [0, 4, 5], "all": list(range(6))}
LIMITS = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 2e-2}
SCALARS = {"leaky_relu": [0.1], "hardtanh": [-0.5, 0.5]}


@pytest.fixture(autouse=True)
def exact_products(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def near(got, wanted):
    assert got.shape == wanted.shape and got.dtype == wanted.dtype
    if got.numel():
        scale = float(wanted.double().abs().max().clamp(min=1.0))
        assert float((got.double() - wanted.double()).abs().max()) <= LIMITS[got.dtype] * scale


def windows(cells, block, channels, kernel, stride, dilation, dtype=torch.float32):
    """Arguments of ``conv_windows`` as far as the weight, and the size of an output block."""
    levels = torch.zeros(6, dtype=torch.uint8, device=DEVICE)
    levels[CELLS[cells]] = 1
    grid = BlockGrid(levels.view(1, 2, 3), block)
    dense = torch.randn(1, channels, 2 * block[0], 3 * block[1], device=DEVICE).to(dtype)
    whole = split(Frame(BlockGrid.filled(Level.FULL, 1, (2, 3), block)), dense, block)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation)]
    pad = (reach[0] // 2, reach[0] - reach[0] // 2, reach[1] // 2, reach[1] - reach[1] // 2)
    plan = plan_window(whole, kernel, stride, pad, dilation)
    depth = (max(plan.halo),) * 4
    store = torch.randn(1 + 6 * grid.ring(block, depth).count, channels, device=DEVICE).to(dtype)
    index, places = grid.halo(Level.FULL, block, plan.halo, depth, "constant")
    blocks = gather_cells(dense, grid.lines(Level.FULL, block), block[1])
    return (blocks, store, index, places, plan.halo), plan.out_block


def weights(kernel, cin, cout, groups, dtype=torch.float32):
    weight = torch.randn(*kernel, cin // groups, cout, device=DEVICE) * 0.3
    return weight.to(dtype), torch.randn(cout, device=DEVICE).to(dtype)


@pytest.mark.parametrize(
    "kernel, stride, dilation, block",
    [
        ((3, 3), (1, 1), (1, 1), (4, 6)),
        ((3, 3), (2, 2), (1, 1), (4, 4)),
        ((3, 3), (1, 1), (6, 3), (4, 4)),
        ((7, 7), (2, 2), (1, 1), (4, 2)),
        ((1, 5), (1, 1), (1, 1), (2, 3)),
        ((2, 3), (2, 1), (1, 2), (4, 4)),
    ],
    ids=str,
)
@pytest.mark.parametrize("cells", CELLS)
def test_geometry(cells, kernel, stride, dilation, block):
    args, _ = windows(cells, block, 5, kernel, stride, dilation)
    weight, bias = weights(kernel, 5, 7, 1)
    rest = (weight, bias, stride, dilation, 1, "", [], None)
    near(kernels.conv_windows(*args, *rest), reference.conv_windows(*args, *rest))


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize("cin, cout, groups", [(6, 4, 2), (5, 5, 5), (70, 70, 70), (80, 130, 1)])
def test_channels_and_groups(cin, cout, groups, dtype):
    args, _ = windows("some", (2, 2), cin, (3, 3), (1, 1), (1, 1), dtype)
    weight, bias = weights((3, 3), cin, cout, groups, dtype)
    rest = (weight, bias, (1, 1), (1, 1), groups, "relu", [], None)
    near(kernels.conv_windows(*args, *rest), reference.conv_windows(*args, *rest))


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize("groups", [1, 4], ids=["whole", "depthwise"])
@pytest.mark.parametrize("name", ["", *ACTIVATIONS])
def test_epilogues(name, groups, dtype):
    args, out_block = windows("some", (2, 3), 4, (3, 3), (1, 1), (1, 1), dtype)
    weight, bias = weights((3, 3), 4, 4, groups, dtype)
    other = torch.randn(3, 4, *out_block, device=DEVICE).to(dtype)
    for b, residual in ((bias, other), (None, None)):
        rest = (weight, b, (1, 1), (1, 1), groups, name, SCALARS.get(name, []), residual)
        near(kernels.conv_windows(*args, *rest), reference.conv_windows(*args, *rest))


def test_nan_stays_nan():
    args, _ = windows("one", (2, 2), 4, (3, 3), (1, 1), (1, 1))
    args[0][0, 0, 0, 0] = float("nan")
    weight, bias = weights((3, 3), 4, 4, 1)
    for name in ("relu", "leaky_relu", "hardtanh"):
        rest = (weight, bias, (1, 1), (1, 1), 1, name, SCALARS.get(name, []), None)
        got = kernels.conv_windows(*args, *rest)
        assert torch.equal(got.isnan(), reference.conv_windows(*args, *rest).isnan())
        assert got.isnan().any()


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize("depthwise", [False, True], ids=["whole", "depthwise"])
@pytest.mark.parametrize("rows", [0, 1, 70])
def test_taps(rows, depthwise, dtype):
    store = torch.randn(30, 19, device=DEVICE).to(dtype)
    index = torch.randint(0, 30, (rows, 9), device=DEVICE)
    shape = (9, 19) if depthwise else (9, 19, 21)
    weight = (torch.randn(shape, device=DEVICE) * 0.3).to(dtype)
    bias = torch.randn(shape[-1], device=DEVICE).to(dtype)
    other = torch.randn(rows, shape[-1], device=DEVICE).to(dtype)
    for rest in ((None, depthwise, "", [], None), (bias, depthwise, "relu", [], other)):
        wanted = reference.conv_taps(store.double(), index, weight.double(), *(
            x.double() if isinstance(x, torch.Tensor) else x for x in rest
        ))  # fmt: skip
        near(kernels.conv_taps(store, index, weight, *rest), wanted.to(dtype))


def test_tiles_fit_the_problem():
    for pixels, cin, cout in [(1, 1, 1), (100, 3, 64), (200000, 256, 256), (8192, 2048, 19)]:
        for nbytes in (2, 4):
            tile = kernels.tile_of(pixels, cin, cout, nbytes)
            assert all(tile[side] >= 16 for side in "MNK")
            assert (tile["M"] + tile["N"]) * tile["K"] * nbytes * 3 <= 227 * 1024
