"""The network behind the learned policy: any size, small, starting from the prior."""

import pytest
import torch

from mmdyn.policies import Observation, TaskOutput
from mmdyn.policies.policy_net import Features, PolicyNet


def observation(size, side, images=2, classes=19):
    height, width = size
    grid = (height // side, width // side)
    cells = (images, *grid)
    thumbnails = (images, 3, height // 8, width // 8)
    logits = torch.randn(classes, height // 4, width // 4)
    return Observation(
        torch.randn(images, 3, *size), grid, torch.rand(cells), torch.randn(thumbnails),
        torch.randn(thumbnails), torch.randint(1, 50, cells), torch.rand(cells) < 0.5,
        [TaskOutput("semseg", image_size=size, logits=logits), *[None] * (images - 1)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "side"),
    [((256, 512), 128), ((96, 160), 32), ((96, 160), 16), ((64, 64), 64), ((24, 40), 8)],
)
def test_any_size(size, side):
    obs = observation(size, side)
    features = Features.of(obs, 1e-4)
    assert PolicyNet()(*features).shape == obs.age.shape
    assert features.picture.shape[1] == 12
    assert max(features.picture.shape[-2:]) <= 8 * max(obs.grid_size)


def test_an_untrained_network_gives_the_prior():
    features = Features.of(observation((96, 160), 32), 1e-4)
    assert torch.equal(PolicyNet()(*features), features.prior)


def test_images_do_not_mix():
    torch.manual_seed(0)
    net = PolicyNet()
    torch.nn.init.normal_(net.correct.weight)
    features = Features.of(observation((96, 160), 32, images=3), 1e-4)
    together = net(*features)
    for index in range(3):
        assert torch.allclose(net(*features.take([index]))[0], together[index], atol=1e-5)


def test_corrections_are_bounded():
    net = PolicyNet()
    torch.nn.init.constant_(net.correct.bias, 1e6)
    features = Features.of(observation((96, 160), 32), 1e-4)
    assert torch.allclose(net(*features) - features.prior, torch.tensor(10.0))


def test_it_does_not_see_the_networks_units():
    obs = observation((96, 160), 32)
    expected = Features.of(obs, 1e-4)
    for field in ("thumbnail", "memory_thumbnail"):
        setattr(obs, field, getattr(obs, field) * 58.0 + 114.0)
    obs.change = obs.change * 58.0
    for got, want in zip(Features.of(obs, 1e-4), expected, strict=True):
        assert torch.allclose(got, want, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 4])
def test_images_need_not_have_three_channels(channels):
    obs = observation((64, 64), 32)
    obs.thumbnail, obs.memory_thumbnail = torch.randn(2, 2, channels, 8, 8)
    assert PolicyNet()(*Features.of(obs, 1e-4)).isfinite().all()


def test_the_number_of_classes_does_not_matter():
    for classes in (1, 2, 150):
        assert Features.of(observation((64, 64), 32, classes=classes), 0.0).picture.shape[1] == 12


@pytest.mark.parametrize("side", [32, 64, 128])
def test_it_stays_small(side):
    macs = 0

    def count(module, inputs, output):
        nonlocal macs
        macs += output[0].numel() * module.weight[0].numel()

    net = PolicyNet()
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    net(*Features.of(observation((512, 512), side, images=1), 1e-4))
    # The smallest stock detector, YOLOX-nano, takes some 3100 MACs per image pixel.
    assert macs / 512**2 < 40
    assert sum(p.numel() for p in net.parameters()) < 40_000


def test_the_width_is_checked():
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        PolicyNet(width=6)
