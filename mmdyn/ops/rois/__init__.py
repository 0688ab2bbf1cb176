"""Features of regions of interest, read from channels-last maps where they lie."""

from __future__ import annotations

import logging
from functools import lru_cache

import torch
from torch import Tensor

from mmdyn.ops.library import define, is_plain, undisturbed
from mmdyn.ops.rois import reference

__all__ = ["aligns", "roi_align"]

logger = logging.getLogger(__name__)

roi_align = define(
    "roi_align(Tensor features, Tensor rois, int[] size, float scale, int sampling, bool aligned) "
    "-> Tensor",
    reference.roi_align,
)


def aligns(features: Tensor, rois: Tensor) -> bool:
    """Whether the compiled operator serves these: it is there, right, and nothing is recorded.

    Of mmcv's a trace knows what to write into an ONNX file; a compilation would trace the trial.
    """
    if torch.is_grad_enabled() or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    if not (is_plain(features) and is_plain(rois)):
        return False
    on_cpu = features.device.type == rois.device.type == "cpu"
    if not on_cpu or rois.dtype != torch.float32:
        return False
    if not features.is_contiguous(memory_format=torch.channels_last):
        return False
    return _is_right(features.dtype)


@lru_cache(maxsize=8)
def _is_right(dtype: torch.dtype) -> bool:
    """Whether the compiled operator gives what its reference does; tried once for each type."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    if not torch._C._dispatch_has_kernel_for_dispatch_key("mmdyn::roi_align", "CPU"):
        return False
    with undisturbed():
        ramp = torch.linspace(-1, 1, 2 * 19 * 6 * 7, device="cpu").sin().view(2, 6, 7, 19)
        features = ramp.to(dtype).permute(0, 3, 1, 2)
        rois = torch.tensor([[1, 3, -2, 30, 17], [0, -9, 1, 8, 60], [1, 7, 9, 8, 9.5]])
        for sampling, aligned in ((0, True), (2, False)):
            rest = (rois, [3, 2], 0.25, sampling, aligned)
            mine = roi_align(features, *rest)
            exact = reference.roi_align(features.double(), *rest)
            if not torch.allclose(mine.double(), exact, rtol=1e-2, atol=4 * torch.finfo(dtype).eps):
                logger.warning("the compiled RoIAlign is wrong in %s here and not used", dtype)
                return False
    return True
