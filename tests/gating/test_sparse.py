"""Sparse inference is masked dense inference."""

import pytest
import torch

from mmdyn.gating import enlarge
from mmdyn.gating.branch import run_masked
from mmdyn.gating.sparse import SparseBranch, add_rows
from tests.gating.residual import BLOCKS, described, made, masks, weights_of

SIZE = (13, 18)  # no tile divides it


@pytest.mark.parametrize("tile", [1, 2, 4])
@pytest.mark.parametrize("kind", BLOCKS)
def test_sparse_is_masked_dense(kind, tile):
    block, channels = made(kind), 8 if "bottleneck" not in kind else 16
    branch = described(block)
    weights, after = weights_of(block, branch), branch.sizes(SIZE)[-1]
    run = SparseBranch(branch, weights, tile)
    x = torch.randn(2, channels, *SIZE).contiguous(memory_format=torch.channels_last)
    for name, tiles in masks(2, (-(-after[0] // tile), -(-after[1] // tile))).items():
        mask = enlarge(tiles, tile, after)
        with torch.no_grad():
            wanted = run_masked(block, branch, weights, x, mask)
            before, rows = x.clone(), run(x, tiles)
            found = add_rows(block, branch, x, rows, in_place=False)
        assert torch.equal(x, before), name
        assert (found - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max())), name
        cost = rows.macs_of_images(branch.steps, 2)
        assert torch.equal(cost.float(), branch.executed(mask.float(), SIZE)), name


def test_in_place_it_changes_the_open_pixels_alone():
    block = made("bottleneck")
    branch = described(block)
    weights = weights_of(block, branch)
    x = torch.randn(2, 16, 10, 12).relu().contiguous(memory_format=torch.channels_last)
    mask = masks(2, (10, 12))["some"]
    with torch.no_grad():
        wanted = run_masked(block, branch, weights, x, mask)
        before, rows = x.clone(), SparseBranch(branch, weights, 1)(x, mask)
        found = add_rows(block, branch, x, rows, in_place=True)
    assert found.data_ptr() == x.data_ptr()
    assert torch.allclose(found, wanted, atol=1e-5)
    closed = ~mask.expand_as(x)
    assert torch.equal(found[closed], before[closed])


@pytest.mark.parametrize("kind", ["basic", "bottleneck", "inverted"])
def test_images_of_a_batch_do_not_mix(kind):
    block, channels = made(kind), 8 if "bottleneck" not in kind else 16
    branch = described(block)
    run = SparseBranch(branch, weights_of(block, branch), 1)
    x = torch.randn(3, channels, 9, 9).contiguous(memory_format=torch.channels_last)
    mask = masks(3, (9, 9))["some"]
    with torch.no_grad():
        together = add_rows(block, branch, x, run(x, mask), in_place=False)
        for k in range(3):
            one = x[k : k + 1].contiguous(memory_format=torch.channels_last)
            alone = add_rows(block, branch, one, run(one, mask[k : k + 1]), in_place=False)
            assert torch.allclose(alone, together[k : k + 1], atol=1e-5)


def test_bfloat16_rows_stay_bfloat16():
    block = made("bottleneck")
    branch = described(block)
    weights = [(w.bfloat16(), b.bfloat16()) for w, b in weights_of(block, branch)]
    x = torch.randn(1, 16, 8, 8).bfloat16().contiguous(memory_format=torch.channels_last)
    mask = masks(1, (8, 8))["some"]
    with torch.no_grad():
        rows = SparseBranch(branch, weights, 1)(x, mask)
        wanted = run_masked(block, branch, weights_of(block, branch), x.float(), mask)
        found = add_rows(block, branch, x, rows, in_place=False)
    assert rows.values.dtype == found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), wanted, atol=0.15)
