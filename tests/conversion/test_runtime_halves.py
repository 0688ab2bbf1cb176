"""BlockCopy with blocks at half resolution beside copied and full ones."""

import pytest
import torch
import torch.nn.functional as F

from mmdyn import BlockCopyConfig
from mmdyn.blocks import Level
from mmdyn.conversion import runtime_of
from tests.blocks.clips import half_of
from tests.conversion.networks import clip, converted, dense, network


def levels(net) -> torch.Tensor:
    return runtime_of(net).last_frame.grid.levels


def test_a_grid_holds_copied_half_and_full_blocks():
    net = converted(budget=0.25, half_budget=0.5)
    shares = []
    for t, frame in enumerate(clip(24)):
        out = net(frame)
        assert bool(out.isfinite().all()) and out.shape[2:] == frame.shape[2:]
        counts = [int((levels(net) == level).sum()) for level in Level]
        stats = runtime_of(net).stats
        if t == 0:
            assert counts == [0, 12, 0]
            continue
        assert counts[Level.HALF] == 6 and stats["executed_share"] == counts[Level.FULL] / 12
        assert stats["arithmetic_share"] == pytest.approx((counts[1] + 0.25 * 6) / 12)
        assert stats["half_share"] == 0.5
        shares.append(counts[Level.FULL] / 12)
    assert sum(shares) / len(shares) == pytest.approx(0.25, abs=0.06)


def test_replayed_modules_give_what_their_python_gives():
    nets = [converted(budget=0.25, half_budget=0.25, replay=replay) for replay in (True, False)]
    for frame in clip(16):
        a, b = (net(frame) for net in nets)
        assert torch.equal(levels(nets[0]), levels(nets[1]))
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("replay", [True, False])
def test_copied_blocks_of_a_still_clip_keep_what_they_were(replay):
    """Half blocks change the picture; cells that they do not touch stay as they were."""
    net = converted(budget=0.0, half_budget=0.25, max_age=10**6, replay=replay)
    frame = clip(1)[0]
    last = net(frame)
    assert torch.allclose(last, dense(frame), atol=1e-5)
    for _ in range(8):
        out = net(frame)
        changed = (out != last).any(1)[0].view(3, 16, 4, 16).any(3).any(1)
        assert not bool(changed[levels(net)[0] == Level.COPIED].any())
        last = out


def test_a_frame_of_half_blocks_is_the_network_on_the_averaged_image():
    class Local(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.BatchNorm2d(4)
            self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            return F.relu(self.norm(self.conv(x)))

    net = converted(network(Local), budget=0.0, half_budget=1.0)
    frames = clip(2)
    net(frames[0])
    got = net(frames[1])
    assert bool((levels(net) == Level.HALF).all())
    with torch.no_grad():
        wanted = network(Local)(half_of(frames[1]))
    wanted = wanted.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(got, wanted, atol=1e-5)


def test_without_a_half_budget_nothing_changes():
    plain, other = converted(budget=0.5), converted(budget=0.5, half_budget=0.0)
    for frame in clip(4):
        assert torch.equal(plain(frame), other(frame))


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="half_budget.*0 to 1.*-0.1"):
        BlockCopyConfig(half_budget=-0.1)
    with pytest.raises(ValueError, match="even.*33"):
        BlockCopyConfig(half_budget=0.2, block_size=33)
