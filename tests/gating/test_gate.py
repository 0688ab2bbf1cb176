"""The gates themselves."""

import copy

import pytest
import torch
import torch.nn.functional as F

from mmdyn.gating import Gate, enlarge

KINDS = ("conv1x1", "squeeze")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("stride", "tile"), [(1, 1), (2, 1), (1, 4), (2, 4), (1, 8)])
@pytest.mark.parametrize("size", [(16, 24), (17, 23), (5, 3)])
def test_logits_lie_on_the_tiles_of_the_blocks_output(kind, stride, tile, size):
    gate = Gate(6, stride, kind, tile)
    logits = gate(torch.randn(2, 6, *size))
    after = [-(-side // stride) for side in size]
    assert tuple(logits.shape[2:]) == gate.size(size) == tuple(-(-side // tile) for side in after)
    assert tuple(enlarge(logits, tile, after).shape[2:]) == tuple(after)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [8, 512])
def test_a_new_gate_is_open_and_not_saturated(kind, channels, norm):
    gate = Gate(channels, 1, kind, norm=norm, open_init=0.9)
    logits = gate(torch.randn(4, channels, 16, 16).relu()).detach()
    assert float((logits > 0).float().mean()) > 0.7
    assert float(logits.abs().mean()) < 5


def test_open_init_is_the_probability_of_the_mean_logit():
    gate = Gate(8, open_init=0.3)
    assert float(gate(torch.zeros(1, 8, 4, 4)).detach().sigmoid().mean()) == pytest.approx(0.3)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_a_tiles_logit_is_of_the_mean_of_its_pixels(stride, order):
    gate = Gate(6, stride, tile=4).double()
    x = torch.randn(2, 6, 13, 18, dtype=torch.double).to(memory_format=order).requires_grad_()
    means = F.avg_pool2d(x, 4 * stride, ceil_mode=True)
    wanted = torch.einsum("nchw,c->nhw", means, gate.weight.flatten())[:, None] + gate.bias
    torch.testing.assert_close(gate(x), wanted)
    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (gate(x), wanted)]
    torch.testing.assert_close(*gradients)


def test_a_tile_sees_all_its_pixels_and_no_others():
    gate = Gate(3, tile=4)
    x = torch.randn(1, 3, 8, 8)
    moved = x.clone()
    moved[..., 3, 3] += 1
    change = (gate(moved) - gate(x)).abs()[0, 0] > 1e-6
    assert change.tolist() == [[True, False], [False, False]]


def test_squeeze_sees_the_neighbours_and_the_mean_of_the_map():
    gate = Gate(3, kind="squeeze")
    x = torch.randn(1, 3, 9, 9)
    wanted = F.conv2d(x, gate.weight, gate.bias, padding=1) + x.mean((2, 3)) @ gate.pooled
    assert torch.allclose(gate(x), wanted, atol=1e-6)


def test_logits_stay_float32_under_autocast():
    gate = Gate(4, kind="squeeze", norm=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert gate(torch.randn(1, 4, 8, 8, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_gate_in_half_precision_decides_in_float32(dtype):
    gate, x = Gate(16, kind="squeeze", norm=True).eval(), torch.randn(2, 16, 9, 9).to(dtype)
    gate.threshold.fill_(0.12345)
    gate.norm.running_mean.fill_(0.12345)
    half = copy.deepcopy(gate).to(dtype)
    for name, buffer in gate.named_buffers():
        assert torch.equal(half.get_buffer(name), buffer), name
    for p, q in zip(gate.parameters(), half.parameters()):
        p.data.copy_(q)
    assert torch.equal(half(x), gate(x.float())) and half(x).dtype == torch.float32


def test_a_checkpoint_without_topk_leaves_the_part():
    plain, gate = Gate(4), Gate(4, topk=True)
    gate.part.fill_(1.5)
    state = plain.state_dict()
    gate.load_state_dict(state)
    assert float(gate.part) == 1.5 and "part" not in state


def test_a_single_logit_is_normalised_by_what_was_seen_before():
    gate = Gate(4, tile=8, norm=True).train()
    gate(torch.randn(3, 4, 8, 8))
    seen = gate.norm.running_mean.clone(), gate.norm.running_var.clone()
    x = torch.randn(1, 4, 8, 8)
    found = gate(x)  # batch norm has no variance of one value, and raises
    assert gate(x[:0]).shape == (0, 1, 1, 1)
    assert torch.equal(gate.norm.running_mean, seen[0])
    assert torch.equal(gate.norm.running_var, seen[1])
    assert torch.equal(found, gate.eval()(x))


@pytest.mark.parametrize(("kind", "wanted"), [("conv1x1", 6 * 24), ("squeeze", 6 * 24 * 9 + 6)])
def test_macs_are_counted(kind, wanted):
    assert Gate(6, 2, kind).macs((8, 12)) == wanted
    assert Gate(6, 1, "conv1x1", 4).macs((8, 12)) == 8 * 12 * 6
    assert Gate(6, 1, "squeeze", 4).macs((8, 12)) == 6 * 6 * 9 + 6


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="conv1x1, squeeze.*'se'"):
        Gate(4, kind="se")


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradients_of_a_gate_agree_with_differences(kind):
    gate = Gate(3, 1, kind, norm=True).double().train()
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    names = [name for name, _ in gate.named_parameters()]

    def logits(*values):
        return torch.func.functional_call(gate, dict(zip(names, values)), (x,))

    assert torch.autograd.gradcheck(logits, tuple(gate.parameters()))
