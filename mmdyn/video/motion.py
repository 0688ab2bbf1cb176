"""Motion between two frames of a stream, and remembered maps that follow it.

A copied block shows what was there when it last ran. Where the camera moves, that is the wrong
place by a few pixels in every frame; moved along with the picture it stays right. Motion is
believed only where it explains the picture better than none does, so that a still camera changes
nothing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.ops.pictures import shrink
from mmdyn.ops.transfer import to_device

_SHORT_SIDE = 176  # pixels of the picture that motion is looked for in, at least
_SMALLEST = 32  # pixels of a side below which none is looked for
_SPREAD = 40.0  # grey levels of a standard deviation
_MARGIN = 0.25  # grey levels by which motion must explain the picture better
_SHARE = 0.1  # of what is unexplained without it that motion must explain
_WINDOW = (9, 9)  # pixels over which that is averaged


@dataclass
class Motion:
    """How one frame moved against the one before.

    Attributes:
        flow: (2, h, w) float32, whole image pixels: x and y displacement to where each place of
            the picture was before.
        rest: (2, h, w) what was left out of it, to be added to the motion of the next frame.
        size: (H, W) of the image that the picture covers.
        moves: Whether anything does.
    """

    flow: Tensor
    rest: Tensor
    size: tuple[int, int]
    moves: bool = True

    def at(self, size: tuple[int, int]) -> Tensor:
        """The flow for a map of this size, in the map's pixels; whole ones if it is the image's."""
        mode = "nearest" if size == self.size else "bilinear"
        flow = self.flow
        if tuple(flow.shape[1:]) != size:
            flow = F.interpolate(flow[None], size, mode=mode)[0]
        if size == self.size:
            return flow
        scale = to_device([size[1] / self.size[1], size[0] / self.size[0]], flow.device)
        return flow * scale[:, None, None]

    def moved(self, values: Tensor) -> Tensor:
        """A map (C, h, w) of the frame before, moved along; itself where nothing moved."""
        if not self.moves:
            return values
        return _warp(values.float(), self.at((values.shape[1], values.shape[2]))).to(values.dtype)

    def paths(self, size: tuple[int, int], cells: Tensor) -> Paths:
        """Where what moves in a map of this size comes from.

        Args:
            size: (h, w) of the map.
            cells: (GH, GW) bool, those that are copied.
        """
        height, width = size
        flow = self.at(size)
        copied = F.interpolate(cells[None, None].float(), size, mode="nearest")[0, 0]
        places = (copied * flow.abs().amax(0)).flatten().nonzero().flatten()
        dx, dy = flow.flatten(1).index_select(1, places)
        x = (places.remainder(width) + dx).clamp_(0, width - 1)
        y = (places.div(width, rounding_mode="floor") + dy).clamp_(0, height - 1)
        return Paths(places, x, y, size, whole=size == self.size)

    def move(self, values: Tensor, cells: Tensor) -> None:
        """Moves the copied cells of a remembered map along, in place; see ``paths``."""
        self.paths((values.shape[1], values.shape[2]), cells).move(values)


@dataclass
class Paths:
    """Pixels of a map that move.

    Attributes:
        places: (n,) int64, their indices in the map.
        x, y: (n,) float32, where in the map each comes from.
        size: (h, w) of the map.
        whole: Whether x and y are whole numbers.
    """

    places: Tensor
    x: Tensor
    y: Tensor
    size: tuple[int, int]
    whole: bool

    @cached_property
    def nearest(self) -> Tensor:
        """(n,) int64, the pixel that each comes from, or is nearest to it."""
        return (self.y.round() * self.size[1] + self.x.round()).long()

    def move(self, values: Tensor) -> None:
        """Moves a remembered map along, in place.

        Args:
            values: (C, h, w), channels-last; whole numbers are labels and take the nearest.
        """
        if not self.places.numel():
            return
        channels, height, width = values.shape
        rows = values.permute(1, 2, 0).view(height * width, channels)
        if self.whole or not values.is_floating_point():
            moved = rows.index_select(0, self.nearest)
        else:
            moved = _sampled(rows, self.x, self.y, self.size)
        rows.index_copy_(0, self.places, moved)


def grey_picture(image: Tensor) -> Tensor:
    """(h, w) float32 on the CPU: a frame (C, H, W) made small and grey, for its motion."""
    return shrink(image[None], _factor(image.shape[1], image.shape[2]))[0].mean(0).cpu()


def _factor(height: int, width: int) -> int:
    factor = 1
    while min(height, width) // (2 * factor) >= _SHORT_SIDE and factor < 8:
        factor *= 2
    return factor


def estimate_motion(
    now: Tensor, before: Tensor, size: tuple[int, int], rest: Tensor | None = None,
    device: torch.device | None = None,
) -> Motion:  # fmt: skip
    """The motion between two frames, by dense inverse search (Kroeger et al., ECCV 2016).

    Args:
        now, before: (h, w) of ``grey_picture``.
        size: (H, W) of the images.
        rest: What the motion before left out, see `Motion`.
        device: Where the maps lie that will move; by default the pictures'.
    """
    if min(now.shape) < _SMALLEST:
        still = now.new_zeros(2, *now.shape)
        return Motion(still, still, size, moves=False)
    mean, contrast = before.mean(), before.std().clamp(min=1e-6)
    now, before = (
        ((x - mean) * (_SPREAD / contrast) + 128.0).clamp_(0.0, 255.0) for x in (now, before)
    )
    pair = [x.to(torch.uint8).numpy() for x in (now, before)]
    flow = torch.from_numpy(np.ascontiguousarray(_search().calc(*pair, None))).permute(2, 0, 1)
    explains = _explains(now, before, flow)
    flow = flow * (size[1] / flow.shape[2])  # in image pixels
    flow = torch.where(explains, flow if rest is None else flow + rest, 0.0)
    whole = flow.round()
    there = whole.to(device or now.device, non_blocking=True)
    return Motion(there, flow - whole, size, moves=bool(whole.any()))


def _explains(now: Tensor, before: Tensor, flow: Tensor) -> Tensor:
    """(h, w) bool: where moving the picture before explains this one better than leaving it."""
    left = [now - before, now - _warp(before[None], flow)[0]]
    still, moved = (_sum_around(x.abs().numpy()) for x in left)
    explains = still - moved > np.maximum(_SHARE * still, _least(now.shape))
    return torch.from_numpy(explains)


def _sum_around(values: np.ndarray) -> np.ndarray:
    """Of the pixels of a window around each, those inside the picture."""
    return cv2.boxFilter(values, -1, _WINDOW, normalize=False, borderType=cv2.BORDER_CONSTANT)


@lru_cache(maxsize=16)
def _least(size: torch.Size) -> np.ndarray:
    """What motion must explain more than none, summed like the pixels."""
    return _sum_around(np.full(size, _MARGIN, np.float32))


_searches = threading.local()  # making one takes longer than using it, and none serves two threads


def _search() -> cv2.DISOpticalFlow:
    """Finer than the 'fast' preset and with fewer refinements, which cost more than they find."""
    search = getattr(_searches, "dis", None)
    if search is None:
        search = _searches.dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        search.setFinestScale(1)
        search.setGradientDescentIterations(12)
        search.setVariationalRefinementIterations(2)
    return search


def _warp(values: Tensor, flow: Tensor) -> Tensor:
    """Bilinear samples of `values` (C, h, w) at ``x + flow`` (2, h, w), clamped to the border."""
    height, width = values.shape[1:]
    ys = torch.arange(height, device=flow.device)[:, None] + flow[1]
    xs = torch.arange(width, device=flow.device)[None, :] + flow[0]
    xs = 2.0 * xs / max(width - 1, 1) - 1.0
    ys = 2.0 * ys / max(height - 1, 1) - 1.0
    where = torch.stack([xs, ys], -1)[None]
    return F.grid_sample(values[None], where, padding_mode="border", align_corners=True)[0]


def _sampled(rows: Tensor, x: Tensor, y: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear samples (n, C) of a map's pixels (h * w, C) at positions inside it."""
    height, width = size
    left, top = x.floor(), y.floor()
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    first = (top * width + left).long()
    right = (left < width - 1).long()
    below = (top < height - 1).long() * width
    upper = torch.lerp(rows[first].float(), rows[first + right].float(), fx)
    lower = torch.lerp(rows[first + below].float(), rows[first + below + right].float(), fx)
    return torch.lerp(upper, lower, fy).to(rows.dtype)
