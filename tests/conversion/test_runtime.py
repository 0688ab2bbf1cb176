"""A converted network over time: what it computes, its budget, and the modes it is called in."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmdyn.conversion import runtime_of
from mmdyn.policies import build_policy
from tests.blocks.clips import assert_close
from tests.conversion.networks import SIZE, Net, clip, converted, dense, network, share


def test_the_first_frame_runs_whole_and_is_dense():
    net, frames = converted(budget=0.25), clip(2)
    assert_close(net(frames[0]), dense(frames[0]))
    assert runtime_of(net).stats["first_frame"] and share(net) == 1.0
    net(frames[1])
    assert not runtime_of(net).stats["first_frame"] and share(net) < 0.5


def test_a_still_image_gives_the_dense_output_whatever_runs():
    net, image = converted(budget=0.3, policy="random"), clip(1)[0]
    for _ in range(4):
        assert_close(net(image), dense(image))
    assert share(net) < 0.5


def test_nothing_executed_repeats_the_last_output():
    net, frames = converted(policy="none"), clip(3)
    first = net(frames[0])
    assert torch.equal(net(frames[1]), first) and torch.equal(net(frames[2]), first)


def test_all_executed_is_dense_in_every_frame():
    net = converted(policy="all")
    for image in clip(3):
        assert_close(net(image), dense(image))


def test_images_that_blocks_do_not_divide_are_padded_and_cropped():
    net, image = converted(policy="all"), torch.randn(1, 3, 41, 58)
    padded = F.pad(image, (0, 64 - 58, 0, 48 - 41))
    assert_close(net(image), dense(padded)[:, :, :41, :58])


def test_no_block_is_older_than_max_age():
    net = converted(budget=0.05, max_age=5)
    for image in clip(14):
        net(image)
        state = next(iter(runtime_of(net).streams.states.values()))
        assert int(state.age.max()) <= 5


@pytest.mark.parametrize("policy", ["frame_difference", "random", "oracle", "reinforce"])
@pytest.mark.parametrize("budget", [0.15, 0.5])
def test_the_budget_is_met_over_a_clip(policy, budget):
    net, shares = converted(budget=budget, policy=policy), []
    for image in clip(30):
        net(image)
        shares.append(share(net))
    assert abs(sum(shares) / 30 - budget) <= 0.01


def test_a_frame_whose_copied_blocks_are_too_stale_runs_whole_but_not_again_at_once():
    net, frames = converted(budget=0.1, refresh=0.3, max_age=6), clip(10)
    for image in frames[:7]:
        net(image)
    assert share(net) < 0.9
    brighter = frames[7] + 0.6
    assert_close(net(brighter), dense(brighter))
    assert share(net) == 1.0
    net(brighter - 0.6)
    assert share(net) < 0.9


def test_outputs_are_the_callers_own():
    nets = [converted(budget=0.3) for _ in range(2)]
    for image in clip(5):
        mine, theirs = [net(image) for net in nets]
        assert torch.equal(mine, theirs)
        mine.zero_()


def test_callers_in_inference_mode_are_served_and_may_leave_it():
    net, frames = converted(budget=0.3), clip(4)
    other = converted(budget=0.3)
    for t, image in enumerate(frames):
        with torch.inference_mode(t % 2 == 0):
            got = net(image.clone())
        assert torch.equal(got, other(image))


def test_a_model_made_in_inference_mode_runs():
    with torch.inference_mode():
        net = converted(network(), budget=0.3)
        for image in clip(3):
            out = net(image)
    assert out.shape == (1, 3, *SIZE)


def test_training_mode_is_the_stock_network_with_gradients():
    net, stock = converted().train(), network().train()
    image = clip(2, images=2)[0]
    assert torch.equal(net(image), stock(image))
    net(image).sum().backward()
    assert net.stem.weight.grad is not None
    assert runtime_of(net).last_frame is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_networks_run(dtype):
    net, stock = converted(network().to(dtype), budget=0.3), network().to(dtype)
    image = clip(1)[0].to(dtype)
    for _ in range(3):
        with torch.no_grad():
            assert_close(net(image), stock(image), torch.bfloat16)


def test_autocast_may_come_and_go():
    net, image = converted(budget=0.3), clip(1)[0]
    for t in range(6):
        with torch.autocast("cpu", torch.bfloat16, enabled=t % 4 > 1):
            assert_close(net(image), dense(image), torch.bfloat16 if t % 4 > 1 else None)


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    parts: dict


class Structured(Net):
    def forward(self, x):
        return Output(super().forward(x), {"features": [self.features(x)]})


def test_no_blocks_leak_out_of_structured_outputs():
    net, image = converted(network(Structured)), clip(1)[0]
    out = net(image)
    for got in (out.logits, out.parts["features"][0]):
        assert type(got) is torch.Tensor
    assert_close(out.logits, dense(image))


def test_the_policy_may_be_swapped():
    net, frames = converted(budget=0.3), clip(3)
    net(frames[0])
    runtime_of(net).policy = build_policy("all")
    assert_close(net(frames[1]), dense(frames[1]))


def test_memory_is_bounded_by_the_streams():
    net, frames = converted(budget=0.3), clip(6)
    net(frames[0])
    size = runtime_of(net).memory.nbytes
    for image in frames[1:]:
        net(image)
    assert runtime_of(net).memory.nbytes == size > 0
    assert not any(isinstance(m, nn.Module) for m in vars(runtime_of(net).memory).values())
