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


class ImagePool(nn.Module):
    """DeepLab's branch of the whole image: its mean, a convolution, enlarged to the map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 1)
        self.enlarged: list[torch.Tensor] = []

    def forward(self, x):
        x = self.conv(x)
        pixel = self.pool(nn.functional.adaptive_avg_pool2d(x, 1))
        whole = nn.functional.interpolate(pixel, x.shape[2:], mode="bilinear")
        self.enlarged.append(whole)
        return torch.cat([x, whole.relu_()], 1)


def test_a_pixel_is_enlarged_channels_last_and_right():
    frames = clip(3)
    frames = [torch.cat([f, f.flip(3)]) for f in frames]
    net = ImagePool().eval()
    with torch.no_grad():
        wanted = [net(image) for image in frames]
        net.enlarged.clear()
        net = converted(net, policy="all")
        for image, dense in zip(frames, wanted):
            assert_close(net(image), dense)
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in net.enlarged)
    restore_model(net)
    pixel = net.pool(torch.randn(1, 6, 1, 1))
    assert pixel.stride() == (4, 1, 1, 1)
