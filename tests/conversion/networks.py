"""A small network with halos, a reduction over the image and a skip, clips, and how it is run."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from mmdyn import BlockCopyConfig
from mmdyn.conversion import convert_model, runtime_of

SIZE = (48, 64)


class Net(nn.Module):
    """Stem, residual block, gate, and logits at the image's size."""

    def __init__(self, classes: int = 3, channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, 2, 1)
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 3, 1, 2, 2)
        self.gate = nn.Conv2d(channels, channels, 1)
        self.head = nn.Conv2d(channels, classes, 3, padding=1)

    def features(self, x):
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        x = F.relu(self.norm(self.conv(x)) + x, inplace=True)
        return x * self.gate(F.adaptive_avg_pool2d(x, 1)).sigmoid()

    def forward(self, x):
        return F.interpolate(self.head(self.features(x)), scale_factor=2, mode="bilinear")


def network(kind: type = Net, seed: int = 0) -> nn.Module:
    """The same weights every time, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = kind()
        net.norm.running_mean.normal_(0, 0.1)
        net.norm.running_var.uniform_(0.5, 1.5)
    return net.eval()


def converted(net: nn.Module | None = None, **options) -> nn.Module:
    """`net` converted with settings that suit noise: no scene cut, no refresh."""
    net = network() if net is None else net
    calm = dict(block_size=16, policy="frame_difference", scene_cut=1e9, refresh=None)
    convert_model(net, BlockCopyConfig(**{**calm, **options}), trial=False)
    return net


def clip(frames: int, seed: int = 0, images: int = 1) -> list[torch.Tensor]:
    """Textured frames of which some part changes a little from one to the next."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(images, 3, *SIZE, generator=generator)
    made = []
    for t in range(frames):
        base = base.clone()
        left = 8 * (t % 6)
        base[..., left : left + 12] += 0.2 * torch.randn(
            images, 3, SIZE[0], 12, generator=generator
        )
        made.append(base)
    return made


def dense(image, kind: type = Net):
    """What the stock network gives."""
    with torch.no_grad():
        return network(kind)(image)


def share(net: nn.Module) -> float:
    """Of its last frame, the blocks executed."""
    return runtime_of(net).stats["executed_share"]


def named(net: nn.Module, image, *names):
    """Runs a batch whose images belong to the (stream, frame number) pairs."""
    host = runtime_of(net).host
    original = type(host).streams
    try:
        host.streams = lambda call, clip_id: list(names)
        return net(image)
    finally:
        del host.streams
        assert type(host).streams is original
