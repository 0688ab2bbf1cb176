"""Channels-last for any config."""

import torch
from torch import nn

from mmdyn.engine import ChannelsLastHook


class Runner:
    def __init__(self) -> None:
        self.model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))


def test_parameters_of_four_dimensions_become_channels_last_and_keep_their_values():
    runner = Runner()
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    ChannelsLastHook().before_train(runner)
    assert runner.model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(v, before[k]) for k, v in runner.model.state_dict().items())
