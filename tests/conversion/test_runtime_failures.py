"""Bad frames, exceptions and detours: refused or run whole, and the next frame is right."""

import pytest
import torch
import torch.nn.functional as F

from tests.blocks.clips import assert_close
from tests.conversion.networks import Net, clip, converted, dense, named, network, share


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_frame_raises_and_leaves_no_trace(bad):
    frames = clip(5)
    broken = frames[2].clone()
    broken[0, 0, 3, 5] = bad
    nets = [converted(budget=0.3) for _ in range(2)]
    for t in (0, 1):
        for net in nets:
            named(net, frames[t], ("a", t))
    for image, name in ((broken, ("a", 2)), (broken, ("b", 0)), (broken[:, :, :32], ("a", 0))):
        with pytest.raises(ValueError, match="NaN or infinite"):
            named(nets[0], image, name)
    for t in (2, 3, 4):
        assert torch.equal(*[named(net, frames[t], ("a", t)) for net in nets])
        assert share(nets[0]) == share(nets[1]) < 1.0


class Failing(Net):
    """Raises where `fail` says: after some of the memory was written."""

    fail = ""

    def features(self, x):
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        if self.fail == "middle":
            self.fail = ""
            raise KeyboardInterrupt
        return super().features(x.mean(1, keepdim=True).expand(-1, 3, -1, -1))

    def forward(self, x):
        out = super().forward(x)
        if self.fail == "end":
            self.fail = ""
            raise RuntimeError("out of memory, say")
        return out


@pytest.mark.parametrize("where", ["middle", "end"])
def test_after_an_exception_the_next_frame_is_right(where):
    net, frames = converted(network(Failing), budget=0.3), clip(5)
    for image in frames[:2]:
        net(image)
    net.fail = where
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        net(frames[2])
    assert_close(net(frames[3]), dense(frames[3], Failing))
    net(frames[4])
    assert share(net) < 1.0


class Wandering(Net):
    """Takes another path on some frames."""

    detour = False

    def features(self, x):
        x = super().features(x)
        return self.conv(x) + self.conv(-x) if self.detour else self.conv(x)


def test_a_network_that_takes_another_path_runs_the_whole_frame():
    net = converted(network(Wandering), budget=0.3)
    for t, image in enumerate(clip(6)):
        net.detour = t in (2, 4)
        stock = network(Wandering)
        stock.detour = net.detour
        out = net(image)
        if net.detour:
            assert share(net) == 1.0
        if share(net) == 1.0:
            with torch.no_grad():
                assert_close(out, stock(image))


def test_what_is_not_an_image_batch_is_refused():
    net = converted()
    for bad in (torch.zeros(3, 48, 64), "image", None):
        with pytest.raises(ValueError, match="image batch"):
            net(bad)
    for bad in (torch.zeros(1, 3, 48, 64, dtype=torch.uint8), torch.zeros(0, 3, 48, 64)):
        with pytest.raises(ValueError, match="floating-point"):
            net(bad)
    assert_close(net(clip(1)[0]), dense(clip(1)[0]))


def test_strict_names_the_function_and_the_remedy():
    class Odd(Net):
        def features(self, x):
            return super().features(x).cumsum(3)

    net = converted(network(Odd), strict=True)
    with pytest.raises(NotImplementedError, match="cumsum.*strict=False"):
        net(clip(1)[0])
