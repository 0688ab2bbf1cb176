"""Mixed-precision training where there is no GPU."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper

from mmdyn.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """An optimizer wrapper that runs the forward pass under bfloat16 autocast on any device.

    mmengine's ``AmpOptimWrapper`` refuses to run without an accelerator. bfloat16 has float32's
    range, so no loss scaling is needed; parameters and optimizer state stay float32.

    Args:
        **kwargs: See ``mmengine.optim.OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: torch.nn.Module):
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
