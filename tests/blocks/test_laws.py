"""The laws of the engine, for every rule: blocks compute what the dense network computes."""

import pytest
import torch

from mmdyn.blocks import BlockGrid, BlockTensor, Level
from tests.blocks.cases import ALL, CHANNELS
from tests.blocks.clips import TOLERANCE, Clip, all_half, as_dense, assert_close, half_of, spread

SIZE = (32, 48)
BLOCKS = [(16, 16), (8, 24)]

every_case = pytest.mark.parametrize("case", ALL, ids=str)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def image(seed: int = 0, images: int = 2, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, CHANNELS, *SIZE, generator=generator).to(dtype)


@every_case
def test_all_cells_full_is_the_dense_network(case):
    function, _ = case.build()
    block = BLOCKS[ALL.index(case) % len(BLOCKS)]
    x = image()
    clip = Clip(function, block, remembers=False)
    out = clip.run(x.clone())
    assert_close(as_dense(out), function(x.clone()))
    if case.local:
        assert isinstance(out, BlockTensor)
        assert not clip.frame.dense_sites


@every_case
def test_all_cells_full_is_the_dense_network_under_autocast(case):
    function, _ = case.build()
    x = image()
    with torch.autocast("cpu", torch.bfloat16):
        wanted = function(x.clone())
        got = Clip(function, (16, 16), remembers=False).dense(x.clone())
    lossy = "conv" in case.name or case.name == "bottleneck"
    assert_close(got, wanted, torch.bfloat16 if lossy else None)


@pytest.mark.parametrize("narrow", [True, False])
@every_case
def test_all_cells_full_is_the_dense_network_in_other_types(case, narrow):
    half = (torch.bfloat16, torch.float16)[ALL.index(case) % 2]
    dtype = half if narrow else torch.float64
    function, _ = case.build(dtype)
    x = image(dtype=dtype)
    try:
        wanted = function(x.clone())
    except RuntimeError as error:
        pytest.skip(f"torch itself: {error}")
    got = Clip(function, (16, 16), remembers=False).dense(x.clone())
    assert_close(got, wanted, dtype)


@every_case
def test_all_cells_copied_is_the_last_output(case):
    function, _ = case.build()
    clip = Clip(function, (16, 16))
    last = clip.dense(image(0))
    again = clip.dense(image(1), "none")
    assert torch.equal(again, last)


@pytest.mark.parametrize("cells", ["none", "some"])
@every_case
def test_an_unchanged_image_gives_the_dense_output_whatever_runs(case, cells):
    function, _ = case.build()
    x = image()
    clip = Clip(function, (8, 24))
    clip.dense(x.clone())
    assert_close(clip.dense(x.clone(), cells), function(x.clone()))
    assert_close(clip.dense(x.clone(), cells), function(x.clone()))


@every_case
def test_executed_cells_see_new_pixels_and_copied_neighbours_see_nothing(case):
    if case.reach > 1:
        pytest.skip("copied cells feed what they were fed when they ran")
    function, _ = case.build()
    old, new = image(0), image(1)
    clip = Clip(function, (16, 16))
    before = clip.dense(old.clone())
    out = clip.run(new.clone(), "some")
    grid = clip.frame.grid
    ran = spread(grid.levels, SIZE).bool()
    composite = function(torch.where(ran, new, old))
    after = as_dense(out)
    if not isinstance(out, BlockTensor):
        assert_close(after, composite)
        return
    where = spread(grid.levels, tuple(after.shape[2:])).bool()
    assert torch.equal(torch.where(where, 0, after), torch.where(where, 0, before))
    assert_close(torch.where(where, after, 0), torch.where(where, composite, 0))


@every_case
def test_nothing_depends_on_the_order_of_blocks(case):
    function, _ = case.build()
    outputs = []
    for shuffled in (False, True):
        clip = Clip(function, (16, 16))
        clip.dense(image(0))
        grid = clip.grid(image(1), "some")
        if shuffled:
            members = grid.members[Level.FULL]
            grid.members[Level.FULL] = members[torch.randperm(len(members))]
        outputs.append(clip.dense(image(1), grid=grid))
    assert_close(outputs[1], outputs[0])


@every_case
def test_a_batch_of_streams_is_the_streams_one_by_one(case):
    function, _ = case.build()
    if case.name == "everything":
        pytest.skip("one number for the whole batch")
    frames = [image(seed) for seed in range(3)]
    cells = torch.rand(3, 2, 2, 3) < torch.tensor([2.0, 0.5, 0.5]).view(3, 1, 1, 1)
    together, apart = Clip(function, (16, 16)), [Clip(function, (16, 16)) for _ in range(2)]
    for frame, chosen, order in zip(frames, cells, ([0, 1], [1, 0], [0, 1]), strict=True):
        got = together.dense(frame[order], chosen[order], slots=order)
        wanted = [apart[i].dense(frame[i : i + 1], chosen[i : i + 1]) for i in order]
        assert_close(got, torch.cat(wanted))


@every_case
def test_all_half_is_the_dense_network_on_the_averaged_image(case):
    if not case.scale_free or not case.local:
        pytest.skip("speaks of pixels, or of the whole image")
    function, _ = case.build()
    x = image()
    try:
        wanted = function(half_of(x))
    except RuntimeError as error:
        pytest.skip(f"torch itself: {error}")
    out = Clip(function, (16, 16), remembers=False).run(x, all_half(x, (16, 16)))
    if not isinstance(out, BlockTensor):
        assert out.shape == function(x).shape
        return
    n, c, h, w = wanted.shape
    halves = torch.zeros(n, c, h, w, dtype=wanted.dtype)
    bh, bw = h // 2, w // 3
    for place, block in enumerate(out.halves):
        i, cell = divmod(place, 6)
        rows, cols = slice(cell // 3 * bh, None), slice(cell % 3 * bw, None)
        halves[i, :, rows, cols][:, :bh, :bw] = block
    assert_close(halves, wanted)


@every_case
def test_three_levels_run_together(case):
    function, _ = case.build()
    clip = Clip(function, (16, 16))
    mixed = torch.tensor([[1, 2, 1], [2, 2, 1]]).expand(2, 2, 3)
    before = clip.dense(image(0), mixed)
    assert before.shape == function(image(0)).shape
    assert bool(torch.isfinite(before.float()).all())
    some = torch.tensor([[0, 2, 1], [1, 0, 2]]).expand(2, 2, 3)
    out = clip.run(image(1), some)
    after = as_dense(out)
    assert bool(torch.isfinite(after.float()).all())
    if isinstance(out, BlockTensor):
        copied = spread(some == Level.COPIED, tuple(after.shape[2:]))
        assert torch.equal(after[copied.expand_as(after)], before[copied.expand_as(after)])


@pytest.mark.parametrize(
    "case",
    [c for c in ALL if c.local and c.scale_free and "max pool" in c.name]
    + [c for c in ALL if "bilinear x2" in c.name or c.name == "conv after replication"],
    ids=str,
)
def test_a_constant_image_shows_no_seam_between_levels(case):
    function, _ = case.build()
    x = torch.full((1, CHANNELS, *SIZE), 0.75)
    mixed = torch.tensor([[[1, 2, 1], [2, 2, 1]]])
    out = Clip(function, (16, 16), remembers=False).dense(x, mixed)
    assert_close(out, function(x))


@every_case
def test_gradients_are_the_dense_networks(case):
    if not case.smooth:
        pytest.skip("has no gradient")
    function, weights = case.build(torch.float64)
    x = image(dtype=torch.float64)
    gradients = []
    with torch.enable_grad():
        learnt = [w for name, w in weights.items() if name not in ("mean", "var")]
        leaves = [x.requires_grad_(), *(w.requires_grad_() for w in learnt)]
        for call in (lambda v: function(v), lambda v: Clip(function, (16, 16), False).dense(v)):
            out = call(x)
            score = (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()
            gradients.append(torch.autograd.grad(score, leaves, allow_unused=True))
    for got, wanted in zip(gradients[1], gradients[0], strict=True):
        assert (got is None) == (wanted is None)
        if wanted is not None:
            assert_close(got, wanted, torch.float32 if case.name == "to" else torch.float64)


def test_levels_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="Level"):
        BlockGrid(torch.tensor([[[0, 3]]]), (8, 8))


def test_tolerances_cover_the_types_of_the_laws():
    assert set(TOLERANCE) == {torch.float64, torch.float32, torch.bfloat16, torch.float16}
