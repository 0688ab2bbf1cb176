"""What a rule must hold on two frames and on mixed levels, for functions of one map."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor

from mmdyn.blocks import BlockTensor
from tests.blocks.clips import Clip, as_dense, assert_close, spread

CHANNELS = 4
BLOCK = (4, 6)
NEITHER = "an operand that neither broadcasts per channel nor has the map's size"

grids = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3))
blocks = st.tuples(st.sampled_from([2, 4, 8]), st.sampled_from([2, 4, 6]))


@st.composite
def masked_grids(draw) -> tuple[tuple[int, int], Tensor]:
    """A block size and the cells (N, GH, GW) to execute, from none to all."""
    grid = draw(grids)
    total = grid[0] * grid[1] * grid[2]
    cells = draw(st.lists(st.booleans(), min_size=total, max_size=total))
    return draw(blocks), torch.tensor(cells).view(grid)


def half_of_cells() -> Tensor:
    """Of two images of 2 x 3 cells: four of the first, two of the second."""
    return torch.tensor([[[1, 0, 1], [0, 1, 1]], [[0, 1, 0], [0, 0, 1]]]).bool()


def image_of(cells: Tensor, block: tuple[int, int], seed: int = 0) -> Tensor:
    """Noise that the cells cover."""
    n, gh, gw = cells.shape
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, CHANNELS, gh * block[0], gw * block[1], generator=generator)


def coarse_of(image: Tensor) -> Tensor:
    """The image in quarters from 1/4 to 2: positive, with exact sums and many equal pixels."""
    return ((image * 4).round().clamp(-3, 4) + 4) / 4


def _parts(out) -> list:
    return [out] if isinstance(out, Tensor) else list(out)


def check_frames(
    function: Callable,
    cells: Tensor | None = None,
    block: tuple[int, int] = BLOCK,
    reason: str | None = None,
    prepare: Callable[[Tensor], Tensor] = lambda image: image,
) -> None:
    """All cells of one image, then some of another: executed cells as in the composite image.

    Copied cells of what is still in blocks keep their last output, bit for bit.

    Args:
        function: Of a map; gives a map or several.
        cells: (N, GH, GW) bool, executed in the second frame; by default half of twelve.
        block: Block size.
        reason: Why the function must turn dense; None if it must stay on blocks.
        prepare: Applied to the noise images.
    """
    cells = half_of_cells() if cells is None else cells
    old, new = (prepare(image_of(cells, block, seed)) for seed in (0, 1))
    reasons = set() if reason is None else {reason}
    clip = Clip(function, block)
    with torch.no_grad():
        before = [as_dense(out) for out in _parts(clip.run(old.clone()))]
        for got, wanted in zip(before, _parts(function(old.clone())), strict=True):
            assert_close(got, wanted)
        assert {site.reason for site in clip.frame.dense_sites.values()} == reasons
        after = _parts(clip.run(new.clone(), cells))
        composite = torch.where(spread(cells, old.shape[2:]), new, old)
        wanted = _parts(function(composite.clone()))
        for got, want, last in zip(after, wanted, before, strict=True):
            dense = as_dense(got)
            if isinstance(got, BlockTensor):
                where = spread(cells, dense.shape[2:]).expand_as(dense)
                assert torch.equal(dense[~where], last[~where])
                dense, want = torch.where(where, dense, 0), torch.where(where, want, 0)
            assert_close(dense, want)
        assert {site.reason for site in clip.frame.dense_sites.values()} == reasons


def check_levels(function: Callable, prepare: Callable = lambda image: image) -> None:
    """On full and half blocks it gives what the dense function gives on the dense input."""
    mixed = torch.tensor([[[1, 2, 1], [2, 2, 1]], [[2, 1, 1], [1, 2, 2]]])
    image = prepare(image_of(mixed, BLOCK))
    clip = Clip(lambda x: (x.dense(), function(x)), BLOCK, remembers=False)
    with torch.no_grad():
        seen, out = clip.run(image, mixed)
        assert not torch.equal(seen, image)
        for got, wanted in zip(_parts(out), _parts(function(seen)), strict=True):
            assert_close(as_dense(got), wanted)
