"""Convolutions whose windows are made again for the backward pass."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmdyn.blocks.rules import convolution
from tests.blocks.clips import Clip, assert_close

MIXED = torch.tensor([[[1, 2, 1], [2, 2, 1]], [[2, 1, 1], [1, 2, 2]]])
BLOCK, SIZE, CHANNELS = (4, 4), (8, 12), 3
CASES = {
    "3x3": dict(kernel=(3, 3), padding=(1, 1)),
    "stride 2": dict(kernel=(3, 3), padding=(1, 1), stride=(2, 2)),
    "1x1": dict(kernel=(1, 1)),
    "wide": dict(kernel=(3, 5), padding=(2, 4), dilation=(2, 2)),
    "whole blocks": dict(kernel=(7, 7), padding=(3, 3)),
    "groups": dict(kernel=(3, 3), padding=(1, 1), groups=3),
}


def function(kernel, padding=(0, 0), mode="constant", **how):
    def run(x, weight, bias):
        if mode != "constant":
            x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]), mode)
        return F.conv2d(x, weight, bias, padding=padding if mode == "constant" else 0, **how)

    return run


def draw(*shape: int) -> torch.Tensor:
    made = torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))
    return made.double().requires_grad_()


def agrees(packed, values: tuple[torch.Tensor, ...]) -> None:
    """The derivative along some direction, against differences."""
    generator = torch.Generator().manual_seed(3)

    def like(v: torch.Tensor) -> torch.Tensor:
        return torch.randn(v.shape, generator=generator, dtype=v.dtype)

    out = packed(*values)
    weights, direction, step = [like(v) for v in out], [like(v) for v in values], 1e-5

    def scalar(made) -> torch.Tensor:
        return sum((v * w).sum() for v, w in zip(made, weights, strict=True))

    def beside(step: float) -> torch.Tensor:
        moved = [v.detach() + step * d for v, d in zip(values, direction)]
        return scalar(packed(*(v.requires_grad_() for v in moved)))

    grads = torch.autograd.grad(scalar(out), values)
    wanted = (beside(step) - beside(-step)) / (2 * step)
    got = sum((g * d).sum() for g, d in zip(grads, direction))
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-7)


def inputs(case: dict) -> tuple[torch.Tensor, ...]:
    groups = case.get("groups", 1)
    return draw(2, CHANNELS, *SIZE), draw(3, CHANNELS // groups, *case["kernel"]), draw(3)


@pytest.mark.parametrize(
    "cells", [MIXED, MIXED * 0 + 1, MIXED * 0 + 2], ids=["mixed", "full", "half"]
)
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_the_numerical_ones(name, cells):
    run = function(**CASES[name])

    def packed(x, weight, bias):
        out = Clip(lambda v: run(v, weight, bias), BLOCK, remembers=False).run(x, cells)
        return tuple(level for level in out.packed if level is not None)

    agrees(packed, inputs(CASES[name]))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_what_lies_outside_the_image(mode):
    run = function(kernel=(3, 3), padding=(1, 1), mode=mode)

    def dense(x, weight, bias):
        clip = Clip(lambda v: run(v, weight, bias), BLOCK, remembers=False)
        return (clip.run(x, MIXED).dense(),)

    agrees(dense, inputs(CASES["3x3"]))


@pytest.mark.parametrize("frozen", ["x", "weight", "bias", "x and weight"])
def test_only_what_is_asked_for(frozen):
    x, weight, bias = inputs(CASES["3x3"])
    run = function(**CASES["3x3"])
    for name, value in (("x", x), ("weight", weight), ("bias", bias)):
        value.requires_grad_(name not in frozen)
    out = Clip(lambda v: run(v, weight, bias), BLOCK, remembers=False).run(x, "all").dense()
    wanted = run(x, weight, bias)
    leaves = [value for value in (x, weight, bias) if value.requires_grad]
    for got, other in zip(*(torch.autograd.grad((v**2).sum(), leaves) for v in (out, wanted))):
        assert_close(got, other)


def test_windows_are_not_kept(monkeypatch):
    """What autograd keeps of a convolution is its input and weight, no copy of the blocks."""
    x, weight, bias = inputs(CASES["3x3"])
    run, kept = function(**CASES["3x3"]), []
    with torch.autograd.graph.saved_tensors_hooks(lambda v: kept.append(v) or v, lambda v: v):
        blocks = Clip(lambda v: v * 1, BLOCK, remembers=False).run(x, MIXED)
        kept.clear()
        convolution.conv2d(blocks, weight, bias, padding=(1, 1))
    assert {id(v) for v in kept} <= {id(v) for v in (*blocks.packed, weight)} and len(kept) == 3
    assert run(x, weight, bias).shape == (2, 3, *SIZE)


def test_autocast_computes_and_keeps_the_low_type():
    x, weight, bias = (v.detach().float().requires_grad_() for v in inputs(CASES["3x3"]))
    run = function(**CASES["3x3"])
    with torch.autocast("cpu", torch.bfloat16):
        out = Clip(lambda v: run(v, weight, bias), BLOCK, remembers=False).run(x, MIXED)
        assert out.dtype == torch.bfloat16
        out.blocks.float().square().sum().backward()
    grads = [v.grad.clone() for v in (x, weight, bias)]
    for value in (x, weight, bias):
        value.grad = None
    out = Clip(lambda v: run(v, weight, bias), BLOCK, remembers=False).run(x, MIXED)
    out.blocks.square().sum().backward()
    for got, value in zip(grads, (x, weight, bias), strict=True):
        assert got.dtype == torch.float32
        assert_close(got, value.grad, torch.bfloat16)


@pytest.mark.parametrize("name", CASES)
def test_gradients_can_be_differentiated(name):
    """As a gradient penalty does."""
    run = function(**CASES[name])

    def packed(x, weight, bias):
        out = Clip(lambda v: run(v, weight, bias), BLOCK, remembers=False).run(x, MIXED)
        loss = sum(level.pow(3).sum() for level in out.packed)
        return torch.autograd.grad(loss, (x, weight, bias), create_graph=True)

    agrees(packed, inputs(CASES[name]))
