"""Channels-last training for any config."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdyn.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Puts the model's 4-D parameters into channels-last memory before training and testing.

    Convolutions then produce channels-last activations, which is what oneDNN and cuDNN are
    fastest at. Numerics change only by the order of summation.
    """

    def before_train(self, runner: Runner) -> None:
        runner.model.to(memory_format=torch.channels_last)

    before_test = before_val = before_train
