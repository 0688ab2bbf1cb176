"""PyTorch picks the backend; a backend that is wrong is not picked twice."""

import sys
import types

import pytest
import torch

from mmdyn.ops import cells, library, pictures, rois
from mmdyn.ops.cells import gather_cells, scatter_cells
from mmdyn.ops.conv import in_place, linear
from mmdyn.ops.windows import gather_windows, reference, write_ring


def examples() -> dict[str, tuple]:
    """Arguments of every operator, on the CPU."""
    dense = torch.randn(1, 5, 4, 4).contiguous(memory_format=torch.channels_last)
    lines = torch.tensor([[1, 3], [4, 6]])
    blocks = torch.randn(2, 5, 2, 2).contiguous(memory_format=torch.channels_last)
    store, index = torch.randn(9, 5), torch.randint(0, 9, (2, 12))
    border = [i for i in range(16) if not (4 < i < 7 or 8 < i < 11)]
    places = torch.tensor([*border, *(16 + i for i in border)])
    windows = (blocks, store, index, places, [1, 1, 1, 1])
    return {
        "gather_cells": (dense, lines, 2),
        "scatter_cells": (dense, lines, blocks),
        "add_rows": (torch.randn(9, 5), torch.tensor([4, 0, 7]), torch.randn(3, 5), True),
        "gather_windows": windows,
        "write_ring": (store, torch.tensor([1, 5, 2, 3]), blocks, torch.tensor([0, 3])),
        "conv_windows": (
            *windows, torch.randn(3, 3, 5, 4), torch.randn(4), [1, 1], [1, 1], 1, "relu", [], None,
        ),
        "depthwise_taps": (
            store, index[:, :4].contiguous(), torch.randn(4, 5), torch.randn(5), True,
        ),
        "shrink": (torch.randn(1, 3, 9, 12), 2),
        "patch_statistics": (torch.randn(1, 3, 8, 12), 4),
        "enlarge": (torch.randn(2, 5, 4, 6), 2, 3),
        "roi_align": (
            torch.randn(2, 5, 6, 7), torch.tensor([[1, 1.0, 2, 5, 4], [0, -3.0, 0, 9, 2]]), [2, 3],
            1.0, 0, True,
        ),
        "conv_taps": (store, index[:, :4].contiguous(), torch.randn(4, 5, 3), None, False, "relu",
                      [], None),
    }  # fmt: skip


@pytest.mark.parametrize("name", examples())
def test_every_operator_is_what_its_schema_says(name):
    # What RoIAlign does depends on where its regions are: nothing can trace it.
    only = dict(test_utils="test_schema") if name == "roi_align" else {}
    torch.library.opcheck(getattr(torch.ops.mmdyn, name).default, examples()[name], **only)


@pytest.mark.parametrize("name", examples())
def test_operator_and_reference_agree(name):
    owners = dict(conv_windows=in_place, conv_taps=in_place, depthwise_taps=linear)
    owners.update(
        shrink=pictures, patch_statistics=pictures, enlarge=pictures, add_rows=cells, roi_align=rois
    )
    owner = owners.get(name)
    call = getattr(owner, name) if owner else globals()[name]
    with torch.no_grad():
        torch.manual_seed(0)
        ours = examples()[name]
        got = call(*ours)
        torch.manual_seed(0)
        theirs = examples()[name]
        with torch.enable_grad():
            wanted = call(*theirs)
    pairs = zip(got, wanted) if isinstance(got, tuple) else [(got, wanted)]
    assert all(torch.allclose(mine, other, atol=1e-6) for mine, other in pairs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs) if isinstance(a, torch.Tensor))


def test_gradients_pass_through():
    blocks, store, index, places, halo = examples()["gather_windows"]
    blocks.requires_grad_()
    store.requires_grad_()
    gather_windows(blocks, store, index, places, halo).sum().backward()
    assert torch.equal(blocks.grad, torch.ones_like(blocks)) and store.grad.sum() == 24 * 5
    dense, lines, width = examples()["gather_cells"]
    assert gather_cells(dense.requires_grad_(), lines, width).requires_grad
    out = write_ring(store.detach(), *examples()["write_ring"][1:2], blocks, torch.tensor([0, 3]))
    assert out.requires_grad


def test_in_place_operators_return_what_they_wrote():
    with torch.no_grad():
        for name, call in (("scatter_cells", scatter_cells), ("write_ring", write_ring)):
            args = examples()[name]
            before = args[0].clone()
            assert call(*args) is args[0] and not torch.equal(args[0], before)


@pytest.fixture
def kernel(monkeypatch):
    """A room with one kernel, and a counter of its calls."""
    room = types.ModuleType("mmdyn_test_room")
    room.calls = 0
    room.example_of_double = lambda device, dtype: (torch.ones(3, device=device, dtype=dtype),)
    monkeypatch.setitem(sys.modules, room.__name__, room)
    library.agrees.cache_clear()
    yield room
    library.agrees.cache_clear()


@pytest.mark.parametrize(
    "run, good",
    [(lambda x: 2 * x, True), (lambda x: 3 * x, False), (lambda x: 1 / 0, False),
     (lambda x: x * float("nan"), False)],
    ids=["right", "wrong", "raises", "nan"],
)  # fmt: skip
def test_a_kernel_is_tried_before_it_serves(run, good, kernel, caplog):
    kernel.double = run
    args = ("double", kernel.__name__, lambda x: 2 * x, torch.device("cpu"), torch.float32)
    assert library.agrees(*args) is good
    assert bool(caplog.records) is not good
    kernel.double = None  # tried once
    assert library.agrees(*args) is good


def test_what_writes_is_judged_by_what_it_wrote(kernel):
    def doubles(x):
        x.mul_(2)

    where = torch.device("cpu")
    kernel.double = lambda x: None
    assert not library.agrees("double", kernel.__name__, doubles, where, torch.float32)
    kernel.double = doubles
    assert library.agrees("double", kernel.__name__, doubles, where, torch.float64)


def test_triton_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("MMDYN_TRITON", "0")
    library.triton_is_there.cache_clear()
    try:
        assert not library.triton_is_there()
    finally:
        library.triton_is_there.cache_clear()


def test_the_reference_serves_without_autograd_too():
    args = examples()["gather_windows"]
    with torch.no_grad():
        assert torch.equal(gather_windows(*args), reference.gather_windows(*args))
