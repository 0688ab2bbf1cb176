"""What a policy gets to see of a frame, and whether the picture changed as a whole."""

from __future__ import annotations

import logging

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.conversion.config import BlockCopyConfig
from mmdyn.ops.pictures import shrink
from mmdyn.policies import Observation
from mmdyn.video import StreamState

logger = logging.getLogger(__name__)

_COARSE = 4  # places of a side at which a picture's change as a whole is looked at
_LEAST_COARSE = 0.3  # of `scene_cut` that must remain there: noise does not
_MANY_CUTS = 3  # within `max_age` frames


def thumbnail_of(image: Tensor, block: tuple[int, int]) -> Tensor:
    """(N, C, h, w) float32: the image at 1/8, or at the finest 1/4, 1/2, 1/1 that blocks follow."""
    factor = next(f for f in (8, 4, 2, 1) if block[0] % f == 0 and block[1] % f == 0)
    return shrink(image, factor)


def remembered(states: list[StreamState], thumbnail: Tensor) -> Tensor:
    """(N, C, h, w): the pixels last executed; those of the frame itself in a first one."""
    pairs = zip(states, thumbnail, strict=True)
    return torch.stack([now if s.thumbnail is None else s.thumbnail for s, now in pairs])


def observe(
    image: Tensor, thumbnail: Tensor, before: Tensor, states: list[StreamState], block
) -> Observation:
    """The observation of a frame; streams that start get their ages.

    Args:
        image: (N, C, H, W), padded to blocks.
        thumbnail: Of it.
        before: What `remembered` gave for it.
        states: One an image.
        block: Size of a block.
    """
    size = (image.shape[2] // block[0], image.shape[3] // block[1])
    for state in states:
        if state.frames == 0:
            state.age = torch.zeros(size, dtype=torch.int64, device=image.device)
            state.last_grid = torch.zeros(size, dtype=torch.bool, device=image.device)
    return Observation(
        image=image, grid_size=size, thumbnail=thumbnail, memory_thumbnail=before,
        change=F.adaptive_avg_pool2d((thumbnail - before).abs().mean(1), size),
        age=torch.stack([s.age for s in states]),  # type: ignore[misc]
        last_grid=torch.stack([s.last_grid for s in states]),  # type: ignore[misc]
        task=[s.task for s in states],
    )  # fmt: skip


def scene_cuts(thumbnail: Tensor, before: Tensor, scene_cut: float) -> Tensor:
    """(N,) bool: whose picture changed as a whole.

    Noise on a flat wall changes as much against its contrast, but not on the average over the
    sixteenth of the picture.
    """
    difference = thumbnail - before
    contrast = thumbnail.flatten(1).std(1).clamp(min=1e-6)
    fine = difference.abs().flatten(1).mean(1) / contrast
    coarse = F.adaptive_avg_pool2d(difference, _COARSE).abs().flatten(1).mean(1) / contrast
    return (fine > scene_cut) & (coarse > _LEAST_COARSE * scene_cut)


def restart_at_cuts(states: list[StreamState], cuts: list[bool], config: BlockCopyConfig) -> None:
    """Restarts the streams whose picture changed as a whole; their frame runs all cells."""
    for state, is_cut in zip(states, cuts, strict=True):
        if not state.frames or not is_cut:
            continue
        state.restart()
        state.cuts.append(state.since_start)
        recent = [at for at in state.cuts if state.since_start - at < config.max_age]
        if len(recent) >= _MANY_CUTS and config.budget < 1.0 and not state.warned_of_cuts:
            state.warned_of_cuts = True
            logger.warning(
                "the picture changed as a whole %d times within %d frames: such frames run all of "
                "their blocks and the budget is not kept; raise scene_cut (now %g) if these are "
                "no cuts", len(recent), config.max_age, config.scene_cut,
            )  # fmt: skip
