"""Places in the module tree, whatever the modules do."""

import pytest
import torch
from torch import nn

from mmdyn.conversion import restore_model, runtime_of
from tests.blocks.clips import assert_close
from tests.conversion.networks import Net, clip, converted, network


class Shared(nn.Module):
    """Calls one layer twice, another by keyword, and one within a try."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Identity()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.parts = nn.ModuleList([self.conv, nn.Conv2d(3, 3, 3, padding=2, dilation=2)])
        self.broken = Broken()

    def forward(self, x):
        x = self.conv(self.conv(x))
        try:
            x = self.broken(x)
        except ValueError:
            x = self.parts[1](input=x)
        return self.parts[0](x)


class Broken(nn.Module):
    def forward(self, x):
        raise ValueError("not today")


def test_shared_layers_and_caught_errors_keep_their_places():
    net = Shared().eval()
    frames = clip(4)
    with torch.no_grad():
        wanted = [net(image) for image in frames]
    converted(net, policy="all")
    for image, want in zip(frames, wanted, strict=True):
        assert_close(net(image), want)
    runtime = runtime_of(net)
    assert runtime.tracker.stack == [] and runtime.tracker.frame is None
    assert set(runtime.last_frame.macs) == {"conv", "parts.1"}


def test_submodules_still_work_on_their_own():
    net = converted()
    image = clip(1)[0]
    assert torch.equal(net.stem(image), network().stem(image))
    assert runtime_of(net).last_frame is None


def test_hooks_of_the_user_see_the_modules_outputs():
    net, seen = network(), []
    net.conv.register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape)))
    converted(net)
    net(clip(1)[0])
    assert seen == [(1, 8, 24, 32)]
    restore_model(net)
    net(clip(1)[0])
    assert len(seen) == 2


def test_layers_with_weights_made_on_the_fly():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return self._conv_forward(x, weight, self.bias)

    class Made(Net):
        def __init__(self):
            super().__init__()
            self.conv = Standardised(8, 8, 3, 1, 1)

    net, stock = converted(network(Made), policy="all"), network(Made)
    for image in clip(3):
        with torch.no_grad():
            assert_close(net(image), stock(image))
    kept = len(runtime_of(net).constants)
    net(clip(1)[0])
    assert len(runtime_of(net).constants) == kept


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular", "zeros"])
def test_padding_modes_of_convolutions(mode):
    class Padded(Net):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, 1, 2, 2, padding_mode=mode)

    net, stock = converted(network(Padded), policy="all"), network(Padded)
    image = clip(1)[0]
    with torch.no_grad():
        assert_close(net(image), stock(image))
    assert not runtime_of(net).last_frame.dense_sites
