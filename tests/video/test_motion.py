"""Motion is found where there is some, and remembered maps follow it."""

import pytest
import torch
import torch.nn.functional as F

from mmdyn.blocks import BlockGrid, Level
from mmdyn.video import FeatureMemory
from mmdyn.video.motion import Motion, estimate_motion, grey_picture

SIZE = (192, 256)


def scene(shift_x: float = 0.0, shift_y: float = 0.0) -> torch.Tensor:
    """(3, H, W) smooth texture, its content moved right and down by the shift."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(1, 3, SIZE[0] // 8 + 8, SIZE[1] // 8 + 8, generator=generator)
    big = F.interpolate(noise, scale_factor=8, mode="bicubic", align_corners=False)
    ys = torch.arange(SIZE[0])[:, None] + 16 - shift_y
    xs = torch.arange(SIZE[1])[None, :] + 16 - shift_x
    ys, xs = torch.broadcast_tensors(ys, xs)
    height, width = big.shape[2:]
    where = torch.stack([2 * xs / (width - 1) - 1, 2 * ys / (height - 1) - 1], -1)
    return F.grid_sample(big, where[None], align_corners=True)[0]


def motion_between(before: torch.Tensor, now: torch.Tensor, rest=None) -> Motion:
    return estimate_motion(grey_picture(now), grey_picture(before), SIZE, rest)


def shift_of(x: float, y: float, size=SIZE) -> Motion:
    flow = torch.tensor([x, y])[:, None, None].expand(2, size[0] // 2, size[1] // 2).contiguous()
    return Motion(flow, torch.zeros_like(flow), size)


@pytest.mark.parametrize("shift", [(6.0, 0.0), (0.0, -4.0), (-5.0, 3.0)])
def test_a_shift_is_found(shift):
    flow = motion_between(scene(), scene(*shift)).flow
    inside = flow[:, 16:-16, 16:-16].flatten(1)
    assert inside.median(1).values.tolist() == [-shift[0], -shift[1]]
    assert float((inside - inside.median(1).values[:, None]).abs().mean()) < 0.5


def test_a_still_picture_has_no_motion_and_its_maps_stay_as_they_are():
    motion = motion_between(scene(), scene())
    assert not motion.flow.any() and not motion.rest.any()
    values = torch.randn(5, 24, 32)
    assert motion.moved(values) is values


def test_an_empty_picture_has_no_motion():
    flat = torch.zeros(3, *SIZE)
    assert not motion_between(flat, flat).flow.any()


def test_motion_is_believed_only_where_it_explains_the_picture_better():
    generator = torch.Generator().manual_seed(0)
    before, now = torch.randn(2, 3, *SIZE, generator=generator)
    before[:, :, 128:] = now[:, :, 128:]
    motion = motion_between(before, now)
    assert not motion.flow[:, :, 144:].any()
    left, moved = grey_picture(before), motion.moved(grey_picture(before)[None])[0]
    wanted = grey_picture(now)
    assert float((moved - wanted).abs().mean()) < float((left - wanted).abs().mean())


def test_small_motion_adds_up_over_frames():
    moved, rest, total = scene(), None, torch.zeros(2)
    for step in range(1, 11):
        before, moved = moved, scene(0.4 * step, 0.0)
        motion = motion_between(before, moved, rest)
        rest = motion.rest
        total += motion.flow[:, 32:-32, 32:-32].flatten(1).mean(1)
    assert -5.0 < float(total[0]) < -3.0 and abs(float(total[1])) < 0.5


def test_the_flow_is_whole_image_pixels_for_a_map_of_the_images_size():
    motion = motion_between(scene(), scene(2.6, 1.3))
    assert torch.equal(motion.at(SIZE), motion.at(SIZE).round())
    assert motion.at((SIZE[0] // 4, SIZE[1] // 4)).shape == (2, SIZE[0] // 4, SIZE[1] // 4)


@pytest.mark.parametrize("scale", [1, 4])
def test_copied_cells_of_a_map_move_and_the_others_do_not(scale):
    height, width = SIZE[0] // scale, SIZE[1] // scale
    values = torch.randn(1, height, width, 6).permute(0, 3, 1, 2)
    before = values.clone()
    cells = torch.tensor([[True, False], [False, True]])
    shift_of(8.0, -4.0).move(values[0], cells)
    x, y = 8 // scale, -4 // scale
    expected = before.roll((-y, -x), (2, 3))
    half = (height // 2, width // 2)
    inner = (slice(None), slice(None), slice(4, half[0]), slice(0, half[1] - 8))
    assert torch.allclose(values[inner], expected[inner], atol=1e-6)
    assert torch.equal(values[:, :, : half[0], half[1] :], before[:, :, : half[0], half[1] :])
    assert torch.equal(values[:, :, half[0] :, : half[1]], before[:, :, half[0] :, : half[1]])


def test_nothing_is_read_from_outside_a_map():
    values = torch.ones(1, *SIZE, 2).permute(0, 3, 1, 2)
    shift_of(1000.0, -1000.0).move(values[0], torch.ones(2, 2, dtype=torch.bool))
    assert bool((values == 1).all())


def test_the_composites_of_a_stream_move_and_those_of_others_do_not():
    memory = FeatureMemory()
    like = torch.zeros(1)
    grid = BlockGrid.filled(Level.FULL, 2, (2, 2), (96, 128), slots=[0, 1])
    memory.begin(grid)
    maps = memory.maps("a", grid, (3, *SIZE), like)
    maps.copy_(torch.randn(2, *SIZE, 3).permute(0, 3, 1, 2))
    whole = memory.maps("n", grid, (3, *SIZE), like.long())
    before = maps.clone()
    copied = BlockGrid.filled(Level.COPIED, 2, (2, 2), (96, 128), slots=[0, 1])
    memory.begin(copied, {1: shift_of(3.0, 0.0)})
    after = memory.maps("a", copied, (3, *SIZE), like)
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[1, :, :, :-3], before[1, :, :, 3:])
    assert torch.equal(memory.maps("n", copied, (3, *SIZE), like.long()), whole)
    memory.begin(copied)
    assert torch.equal(memory.maps("a", copied, (3, *SIZE), like), after)


def test_a_tiny_picture_has_no_motion():
    now, before = torch.randn(2, 16, 40)
    motion = estimate_motion(now, before, (16, 40))
    assert motion.flow.shape == (2, 16, 40) and not motion.flow.any()
