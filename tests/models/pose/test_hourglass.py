"""Cost, shapes and the block of the mobile hourglass."""

import pytest
import torch
from torch import nn

from mmdyn.conversion.residuals import find_residuals
from mmdyn.models.pose import InvertedResidual, MobileHourglass


def macs(net: nn.Module, size: int) -> tuple[int, int]:
    """Of all convolutions and of those in blocks that add their input, on an empty network."""
    inside = {
        part
        for block in net.modules()
        if isinstance(block, InvertedResidual) and block.identity
        for part in block.modules()
    }
    total = gated = 0

    def note(module, inputs, output):
        nonlocal total, gated
        cost = module.weight[0].numel() * output.numel()
        total += cost
        gated += cost * (module in inside)

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    net.eval()(torch.zeros(1, 3, size, size, device="meta"))
    return total, gated


@pytest.mark.parametrize(
    ("width", "stacks", "total", "gated"),
    [(96, 4, 6.895e9, 6_157_430_784), (48, 4, 1.826e9, None)],
)
def test_macs_are_the_published_ones(width, stacks, total, gated):
    with torch.device("meta"):
        net = MobileHourglass(16, width, stacks)
    found, conditional = macs(net, 256)
    assert found == pytest.approx(total, abs=0.5e6)
    assert gated is None or conditional == gated
    assert sum(isinstance(m, InvertedResidual) and m.identity for m in net.modules()) == 57


def test_a_map_a_stack_at_a_quarter_of_the_size():
    net = MobileHourglass(5, width=8, num_stacks=2, depth=2).eval()
    assert [tuple(x.shape) for x in net(torch.randn(2, 3, 32, 48))] == [(2, 5, 8, 12)] * 2


def test_later_stacks_read_the_scores_of_earlier_ones():
    net = MobileHourglass(3, width=8, num_stacks=2, depth=1).eval()
    x = torch.randn(1, 3, 32, 32)
    before = net(x)
    net.stacks[0].score.bias.data += 5.0
    after = net(x)
    assert torch.allclose(after[0], before[0] + 5.0, atol=1e-5)
    assert not torch.allclose(after[1], before[1])


def test_block_adds_its_input_only_where_shapes_agree():
    x = torch.randn(1, 4, 6, 6)
    block = InvertedResidual(4, 4).eval()
    nn.init.zeros_(block.project_bn.weight)
    assert block.identity and torch.equal(block(x), x)
    other = InvertedResidual(4, 8).eval()
    nn.init.zeros_(other.project_bn.weight)
    assert not other.identity and not other(x).any()


def test_dynconv_finds_the_blocks_that_can_be_gated():
    net = MobileHourglass(3, width=8, num_stacks=1, depth=2).eval()
    found = list(find_residuals(net))
    blocks = [p for p, m in net.named_modules() if isinstance(m, InvertedResidual) and m.identity]
    assert [f.path for f in found] == blocks and all(f.branch is not None for f in found)


@pytest.mark.parametrize("wrong", [dict(num_joints=0), dict(width=10), dict(num_stacks=0)])
def test_impossible_networks_are_refused(wrong):
    with pytest.raises(ValueError, match="expected num_joints"):
        MobileHourglass(**{"num_joints": 3, **wrong})


def test_an_input_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="64 does not divide"):
        MobileHourglass(3, width=8)(torch.zeros(1, 3, 96, 128))
