"""Copied blocks follow a moving camera; a still one changes nothing."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.conversion.networks import converted

SIZE = (96, 160)


class Painter(nn.Module):
    """Logits that follow the picture exactly: what stands still shows at once."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x))


def pan(frames: int, step: float) -> list[torch.Tensor]:
    """A camera that pans over a smooth picture, `step` pixels a frame."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(1, 3, SIZE[0] // 8 + 1, (SIZE[1] + 128) // 8, generator=generator)
    wide = F.interpolate(noise, scale_factor=8, mode="bicubic", align_corners=False)
    starts = [int(step * i) for i in range(frames)]
    return [wide[:, :, : SIZE[0], s : s + SIZE[1]].contiguous() for s in starts]


def errors(frames: list[torch.Tensor], **options) -> list[float]:
    """Mean error of each frame's output against the dense network's."""
    torch.manual_seed(1)
    net = Painter().eval()
    wanted = [net(frame) for frame in frames]
    net = converted(net, block_size=32, **options)
    return [float((net(f) - w).abs().mean()) for f, w in zip(frames, wanted)]


@pytest.mark.parametrize("replay", [False, True])
@torch.no_grad()
def test_copied_blocks_follow_a_pan(replay):
    frames = pan(8, 5.0)
    still = sum(errors(frames, budget=0.3, motion=False, replay=replay))
    moved = sum(errors(frames, budget=0.3, motion=True, replay=replay))
    assert moved < 0.35 * still


@torch.no_grad()
def test_a_still_camera_changes_no_bit():
    frame = pan(1, 0.0)[0]
    torch.manual_seed(1)
    net = converted(Painter().eval(), block_size=32, budget=0.3, motion=True)
    first = net(frame)
    assert all(torch.equal(net(frame), first) for _ in range(3))


@torch.no_grad()
def test_by_default_only_networks_whose_output_is_a_map_follow():
    frames = pan(4, 5.0)
    assert errors(frames, budget=0.3) == errors(frames, budget=0.3, motion=False)


@torch.no_grad()
def test_a_policy_without_a_budget_repeats_the_last_output():
    frames = pan(3, 5.0)
    torch.manual_seed(1)
    net = converted(Painter().eval(), block_size=32, policy="none", motion=True)
    first = net(frames[0])
    assert torch.equal(net(frames[1]), first) and torch.equal(net(frames[2]), first)


@torch.no_grad()
def test_two_streams_of_a_batch_move_on_their_own():
    left, right = pan(6, 5.0), pan(6, 0.0)
    torch.manual_seed(1)
    net = Painter().eval()
    alone = [errors(clip, budget=0.3, motion=True) for clip in (left, right)]
    wanted = [(net(a), net(b)) for a, b in zip(left, right)]
    net = converted(net, block_size=32, budget=0.3, motion=True)
    for i, (a, b) in enumerate(zip(left, right)):
        out = net(torch.cat([a, b]))
        for j in range(2):
            error = float((out[j] - wanted[i][j][0]).abs().mean())
            assert error == pytest.approx(alone[j][i], rel=1e-3, abs=1e-5)
