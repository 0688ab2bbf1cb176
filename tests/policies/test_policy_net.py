"""The network behind the learned policy: any size, small, starting from the prior."""

import pytest
import torch

from mmdyn.ops.policy import is_compiled, policy_gradient, policy_logits
from mmdyn.policies import Observation, TaskOutput, policy_net
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


compiled = pytest.mark.skipif(not is_compiled(), reason="mmdyn's operators are not compiled")


@compiled
@pytest.mark.parametrize(
    ("images", "side", "grid", "width", "channels", "cells"),
    [
        (2, (64, 128), (8, 16), 16, 12, 3), (1, (15, 18), (4, 3), 8, 5, 2),
        (1, (1, 1), (1, 1), 4, 4, 3), (3, (7, 5), (3, 4), 12, 4, 3), (1, (2, 2), (2, 1), 16, 12, 3),
        (2, (33, 17), (5, 2), 36, 12, 3), (1, (3, 1), (2, 1), 20, 1, 1),
        (0, (8, 8), (2, 2), 8, 3, 3),
    ],
)  # fmt: skip
def test_the_compiled_network_is_the_modules(images, side, grid, width, channels, cells):
    torch.manual_seed(0)
    net = PolicyNet(width, channels, cells)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, 0.1, 0.3)
    features = Features(
        torch.randn(images, channels, *side), torch.randn(images, cells, *grid),
        torch.randn(images, *grid),
    )  # fmt: skip
    gradient = torch.randn(images, *grid)
    net = net.to(memory_format=torch.channels_last)  # as a network's hooks and tools make it
    weights = list(net.parameters())
    with torch.no_grad():
        logits, back = net.pull_back(features)
        got = back(gradient)
        assert torch.equal(logits, net(*features))
        assert torch.equal(logits, policy_logits(*features, weights))
    exact = net.double()
    expected = exact(*(part.double() for part in features))
    found = torch.autograd.grad(expected, list(exact.parameters()), gradient.double())
    wanted = torch.cat([part.flatten() for part in found])
    assert torch.allclose(logits.double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.allclose(got.double(), wanted, rtol=0, atol=1e-5 * (1 + float(wanted.abs().max())))


@compiled
def test_what_is_not_a_number_stays_so():
    features = Features(torch.randn(2, 12, 16, 16), torch.randn(2, 3, 2, 2), torch.randn(2, 2, 2))
    features.picture[1, 0, 3, 3] = float("nan")
    net = PolicyNet()
    torch.nn.init.normal_(net.correct.weight)
    with torch.no_grad():
        logits, back = net.pull_back(features)
        gradient = back(torch.ones(2, 2, 2))
    assert logits[0].isfinite().all() and logits[1].isnan().all()
    assert gradient.isnan().any()


@compiled
def test_modules_run_where_something_looks_at_them():
    features = Features.of(observation((96, 160), 32), 1e-4)
    net, seen = PolicyNet(), []
    handle = net.mix[0].register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        net(*features)
        handle.remove()
        net(*features)
    assert seen == [1]
    assert net(*features).requires_grad


@pytest.mark.parametrize("serves", [True, False])
def test_the_gradient_is_pulled_back_with_and_without_the_operators(serves, monkeypatch):
    if not serves:
        monkeypatch.setattr(policy_net, "_operators_are_right", lambda: False)
    torch.manual_seed(0)
    net = PolicyNet()
    torch.nn.init.normal_(net.correct.weight)
    features, step = Features.of(observation((96, 160), 32), 1e-4), 1e-3
    direction = torch.randn(sum(p.numel() for p in net.parameters()))
    with torch.no_grad():
        logits, back = net.pull_back(features)
        slope = float(back(torch.ones_like(logits)) @ direction)
        sums = []
        for sign in (1.0, -1.0):
            moved = direction * (sign * step / direction.norm())
            parts = moved.split([p.numel() for p in net.parameters()])
            for weight, part in zip(net.parameters(), parts, strict=True):
                weight.add_(part.view_as(weight))
            sums.append(float(net(*features).double().sum()))
            for weight, part in zip(net.parameters(), parts, strict=True):
                weight.sub_(part.view_as(weight))
    measured = (sums[0] - sums[1]) / (2 * step) * float(direction.norm())
    assert measured == pytest.approx(slope, rel=0.02)


@compiled
def test_the_operators_check_what_they_are_given():
    weights = list(PolicyNet().parameters())
    good = torch.randn(1, 12, 8, 8), torch.randn(1, 3, 2, 2), torch.randn(1, 2, 2)
    for place, bad, message in (
        (0, torch.randn(1, 11, 8, 8), "reads 11 and 3 channels"),
        (1, torch.randn(1, 3, 2, 3), "expected picture"),
        (2, torch.randn(1, 2, 2).double(), "expected float32"),
        (0, torch.randn(1, 12, 0, 8), "expected picture"),
    ):
        given = [*good[:place], bad, *good[place + 1 :]]
        with torch.no_grad(), pytest.raises(RuntimeError, match=message):
            policy_logits(*given, weights)
    with torch.no_grad(), pytest.raises(RuntimeError, match="expected 16 weights, got 15"):
        policy_logits(*good, weights[1:])
    with torch.no_grad(), pytest.raises(RuntimeError, match="gradient of shape"):
        policy_gradient(*good, weights, torch.ones(1, 2, 3))


@compiled
def test_a_picture_may_have_thousands_of_channels():
    torch.manual_seed(0)
    net = PolicyNet(4, picture=70_000)  # borders read as many zeros
    features = torch.randn(1, 70_000, 3, 3), torch.randn(1, 3, 2, 2), torch.zeros(1, 2, 2)
    torch.nn.init.normal_(net.correct.weight)
    wanted = net(*features).detach()
    with torch.no_grad():
        found = policy_logits(*features, list(net.parameters()))
    assert torch.allclose(found, wanted, atol=1e-3)
