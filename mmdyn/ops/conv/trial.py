"""Whether the compiled convolutions may serve here: tried on small examples, once a process."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdyn.ops import compiled
from mmdyn.ops.conv.panels import pack_panels, pack_squares, packed_rows, packed_windows, pad_bias
from mmdyn.ops.library import undisturbed
from mmdyn.ops.windows.reference import gather_windows

logger = logging.getLogger(__name__)

_OUTPUTS, _CHANNELS, _SIDE = 40, 17, 4
_FEW = 18
_HALO, _NO_HALO = (1, 1, 1, 1), (0, 0, 0, 0)
_NEAR = {torch.float32: 1e-4, torch.bfloat16: 2e-2}


def tiles_work(dtype: torch.dtype = torch.float32) -> bool:
    """Whether the compiled convolution is there, runs on this processor in a type, and is right."""
    return _tiles_work(dtype)


@lru_cache(maxsize=4)
def _tiles_work(dtype: torch.dtype) -> bool:
    try:
        served = {
            torch.float32: torch.ops.mmdyn.tile_bits() > 0,
            torch.bfloat16: torch.ops.mmdyn.has_amx(),
        }
    except AttributeError:  # not compiled
        if dtype == torch.float32 and compiled.wanted():
            logger.warning(
                "mmdyn's operators are not compiled for this PyTorch, so convolutions on blocks "
                "are slower: run python -m mmdyn.ops.compiled once"
            )
        return False
    return served.get(dtype, False) and is_right(dtype)


def is_right(dtype: torch.dtype) -> bool:
    """Whether a small example of each kind agrees with float64 arithmetic; logged if not."""
    near = _NEAR[dtype]
    with undisturbed():
        for got, wanted in _examples(dtype):
            if not torch.allclose(got.double(), wanted, rtol=near, atol=near * 4):
                logger.warning("the compiled convolutions are wrong here in %s and not used", dtype)
                return False
    return True


def _draw(dtype: torch.dtype, *shape: int) -> Tensor:
    """Numbers from -1 to 1 that no default device, type or random state touches."""
    count = torch.arange(math.prod(shape), device="cpu")
    return (count * 7919 % 1009 / 504.5 - 1.0).to(dtype).view(shape)


def _examples(dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Compiled results beside exact ones: of rows, of windows with halos, and of whole windows."""
    rows, drawn = _draw(dtype, 32, _CHANNELS), _draw(dtype, _OUTPUTS)
    weight, bias = _draw(dtype, _OUTPUTS, _CHANNELS, 3, 3), pad_bias(drawn)
    exact = weight.double(), drawn.double()
    index = (torch.arange(80, device="cpu") * 7 % 20).view(20, 4)
    taps = weight[:, :, 0, 0], weight[:, :, 0, 1], weight[:, :, 1, 0], weight[:, :, 1, 1]
    sums = sum(rows.double()[index[:, i]] @ tap.double().t() for i, tap in enumerate(taps))
    panels = pack_panels(weight[:, :, :2, :2])
    got = packed_rows(rows, index, panels, _OUTPUTS, bias, True, None)
    yield got, torch.relu(sums + exact[1])

    blocks = rows.view(2, _SIDE, _SIDE, _CHANNELS).permute(0, 3, 1, 2)
    around = torch.ones(_SIDE + 2, _SIDE + 2, device="cpu")
    around[1:-1, 1:-1] = 0
    places = around.flatten().nonzero().flatten()
    halo = (torch.arange(2 * len(places), device="cpu") * 5 % 32).view(2, -1)
    places = torch.cat([places, places + around.numel()])
    windows = gather_windows(blocks, rows, halo, places, _HALO)
    residual = _draw(dtype, 2, _OUTPUTS, _SIDE, _SIDE)
    wanted = F.conv2d(windows.double(), *exact)
    kinds = [pack_panels(weight), *([pack_squares(weight)] if dtype == torch.float32 else [])]
    for packed in kinds:
        how = _OUTPUTS, (3, 3), bias, (1, 1), (1, 1), True
        got = packed_windows(blocks, rows, halo, places, _HALO, packed, *how, residual)
        yield got, torch.relu(wanted + residual.double())
        got = packed_windows(windows, None, None, None, _NO_HALO, packed, *how, None)
        yield got, torch.relu(wanted)
    if dtype == torch.float32:
        yield _example_of_lanes(weight[:_FEW], drawn[:_FEW])


def _example_of_lanes(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Few output channels, as many at once as the narrowest registers allow."""
    windows = _draw(weight.dtype, 2, weight.shape[1], 5, 10)
    residual = _draw(weight.dtype, 2, _FEW, 3, 8)
    packed = pack_squares(weight, _FEW // 2)
    how = packed, _FEW, (3, 3), pad_bias(bias), (1, 1), (1, 1), True, residual
    wanted = F.conv2d(windows.double(), weight.double(), bias.double()) + residual.double()
    return packed_windows(windows, None, None, None, _NO_HALO, *how), torch.relu(wanted)
