"""Multiply-accumulates of networks that are converted or not."""

import pytest
import torch
from torch import nn

import mmdyn
from mmdyn.conversion.counting import count_macs


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 1, groups=2))


def test_counts_of_a_plain_module() -> None:
    counts = count_macs(Net(), (32, 64))
    assert counts == {"0": 16 * 32 * 4 * 27, "2": 16 * 32 * 8 * 2}


def test_transposed_and_linear() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.line = nn.ConvTranspose2d(3, 5, 4, 2, 1), nn.Linear(5, 7)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.line(self.up(x).mean((2, 3)))

    assert count_macs(Other(), (8, 16)) == {"up": 3 * 8 * 16 * 5 * 16, "line": 35}


def test_converted_counts_what_was_executed() -> None:
    model = Net().eval()
    dense = count_macs(model, (32, 64))
    mmdyn.convert_model(model, mmdyn.BlockCopyConfig(policy="none", block_size=32), trial=False)
    assert count_macs(model, (32, 64)) == dense, "the first frame runs whole"
    assert sum(count_macs(model, (32, 64)).values()) == 0


def test_hooks_are_gone_after_a_failure() -> None:
    model = Net()
    model[2].forward = None
    with pytest.raises(TypeError):
        count_macs(model, (32, 64))
    assert not model[0]._forward_hooks
