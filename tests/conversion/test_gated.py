"""A gated block: masked in training, sparse in evaluation."""

import json

import pytest
import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from mmdyn.conversion import gated as module
from mmdyn.conversion import runtime_of
from mmdyn.gating.branch import folded
from tests.conversion.gated_networks import executing, gated, images, network


def run(net, x=None):
    with torch.no_grad():
        return net(images() if x is None else x)


def test_the_mask_multiplies_the_branch_in_training():
    net, x = gated(noise_until=0.0).train(), images()
    seen = {}
    for name in ("layer1.0", "layer2.1"):
        block = net.get_submodule(name)
        block.register_forward_hook(lambda m, args, out, n=name: seen.update({n: (args[0], out)}))
    runtime_of(net).keep_masks = True
    net(x)
    for name, (inputs, out) in seen.items():
        closed = runtime_of(net).masks[name].expand_as(out) == 0
        assert 0 < int(closed.sum()) < closed.numel()
        assert torch.equal(out[closed], inputs.relu()[closed])


def test_intermediate_results_that_somebody_keeps_are_not_overwritten():
    net = gated()
    x = network().stem(images()).detach()
    with torch.no_grad():
        kept = [x]
        for block in net.layer1:
            kept.append(block(kept[-1]))
        copies = [k.clone() for k in kept]
        for block, before in zip(net.layer2, kept[-1:]):
            block(before)
        assert all(torch.equal(a, b) for a, b in zip(kept, copies))
    seen = []
    net.layer1[0].register_forward_hook(lambda m, a, out: seen.append((out, out.clone())))
    run(net)
    assert torch.equal(*seen[0])


def hook_outputs(net, keep):
    return net.layer1[0].register_forward_hook(lambda m, args, out: keep(out))


def hook_inputs(net, keep):
    return net.layer1[1].register_forward_pre_hook(lambda m, args: keep(args[0]))


def hook_gate(net, keep):
    return net.layer1[1].dynconv_gate.register_forward_pre_hook(lambda m, args: keep(args[0]))


def hook_shortcut(net, keep):
    return net.layer2[0].downsample[1].register_forward_hook(lambda m, args, out: keep(out))


def hook_all(net, keep):
    return register_module_forward_hook(lambda m, args, out: keep(out))


def hook_all_before(net, keep):
    return register_module_forward_pre_hook(lambda m, args: keep(args[0]))


@pytest.mark.parametrize(
    "hook",
    [hook_outputs, hook_inputs, hook_gate, hook_shortcut, hook_all, hook_all_before],
)
def test_what_a_hook_keeps_is_not_overwritten(hook):
    net, kept = gated(), []
    for layer in net.modules():  # the network's own activations write where they read
        if isinstance(layer, (nn.ReLU, nn.ReLU6)):
            layer.inplace = False
    wanted = run(net)
    handle = hook(net, lambda x: kept.append((x, x.clone())))
    try:
        # Nothing is folded where a hook looks at what lies between a convolution and its norm.
        torch.testing.assert_close(run(net), wanted, rtol=0, atol=1e-6)
    finally:
        handle.remove()
    assert kept and all(torch.equal(x, then) for x, then in kept)


def test_a_shortcut_that_is_the_identity_written_as_a_module_leaves_the_input():
    class Same(nn.Module):
        def forward(self, x):
            return x

    net = network()
    for block in net.layer1[:2]:
        block.downsample = Same()
    gated(net)
    assert runtime_of(net.layer1[0]).branch.shortcut == "downsample"
    x = torch.randn(2, 8, 9, 9).contiguous(memory_format=torch.channels_last)
    before = x.clone()
    sparse = run(net.layer1, x)
    assert torch.equal(x, before)
    assert torch.allclose(run(executing(net, "dense").layer1, x), sparse, atol=1e-5)


def test_within_a_stage_the_input_is_overwritten(monkeypatch):
    used = []
    real = module.add_rows
    monkeypatch.setattr(
        module,
        "add_rows",
        lambda b, br, x, r, in_place: used.append(in_place) or real(b, br, x, r, in_place),
    )
    net = gated()
    wanted = run(executing(net, "dense"))
    found = run(executing(net, "sparse"))
    assert used == [False, True, False, False, True, True]
    assert torch.allclose(found, wanted, atol=1e-5)
    run(net.layer1[1], torch.randn(1, 8, 8, 8))
    assert used[-1] is False


def test_auto_times_every_block_and_says_what_it_chose(caplog):
    net = gated(execution="auto")
    wanted = run(executing(gated(), "sparse"))
    with caplog.at_level("INFO", logger="mmdyn.conversion.choice"):
        for _ in range(4):
            assert torch.allclose(run(net), wanted, atol=1e-5)
    (text,) = [r.getMessage() for r in caplog.records]
    for path in ("layer1.0", "layer2.2"):
        assert f"{path}: sparse below" in text
    states = [runtime_of(m) for m in net.modules() if type(m).__name__.startswith("Gated")]
    assert all(len(s.choice.break_even) == 1 for s in states)
    for state in states:  # the choice follows the timing
        size = next(iter(state.choice.break_even))
        state.choice.break_even[size] = 0.0
    runtime_of(net).reset()
    run(net)
    assert runtime_of(net).stats["run_share"] > 1.0
    for state in states:
        state.choice.break_even = dict.fromkeys(state.choice.break_even, 2.0)
    runtime_of(net).reset()
    run(net)
    assert runtime_of(net).stats["run_share"] == runtime_of(net).stats["executed_share"]


def test_what_auto_found_out_is_kept_in_a_file(tmp_path, caplog):
    path, said = str(tmp_path / "blocks.json"), []
    for tile, timed in ((1, True), (1, False), (2, True)):
        net, took = gated(execution="auto", timings=path, tile=tile), []
        with caplog.at_level("INFO", logger="mmdyn.conversion.choice"):
            for _ in range(3):
                runtime_of(net).reset()
                out = run(net)
                took.append(runtime_of(net).stats["tuning_ms"])
        assert torch.allclose(out, run(gated(execution="sparse", tile=tile)), atol=1e-5)
        assert [ms > 0.0 for ms in took] == [timed, timed, False]  # the first warms up
        said.append(caplog.records[-1].getMessage())
        assert len(json.loads((tmp_path / "blocks.json").read_text())) == 6 * tile
    assert len(caplog.records) == 3
    assert [" ms, each" in text for text in said] == [True, False, True]
    assert "timed in another run" in said[1]
    lines = [text.split("\n")[1:] for text in said]
    assert lines[0] == lines[1] != lines[2]


def test_timings_of_another_network_are_not_taken(tmp_path):
    path = str(tmp_path / "blocks.json")
    for width in (4, 5):
        net = network()
        net.head = nn.Linear(16, width)
        net = gated(net, execution="auto", timings=path)
        run(net)
        assert runtime_of(net).stats["tuning_ms"] > 0.0
        run(net)


def test_checkpointed_blocks_train_alike():
    plain, saving = (gated(noise_until=0.0).train() for _ in range(2))
    for block in (saving.layer1[0], saving.layer2[1]):
        block.with_cp = True
    for net in (plain, saving):
        (net(images()).square().sum() + runtime_of(net).losses["loss_sparsity"]).backward()
    for (name, p), q in zip(plain.named_parameters(), saving.parameters()):
        assert torch.allclose(p.grad, q.grad, atol=1e-5), name
    assert saving.layer1[0].with_cp is True


def test_a_lost_mask_is_an_error_and_not_a_dense_block():
    net = gated().train()
    with pytest.raises(RuntimeError, match="layer1.0: bn2 did not run"):
        runtime_of(net.layer1[0]).masked(net.layer1[0], lambda x: x, torch.randn(1, 8, 6, 6))


@pytest.mark.parametrize("kind", [nn.SyncBatchNorm.convert_sync_batchnorm, None])
def test_norms_may_be_replaced_afterwards(kind):
    net = gated()
    if kind is None:  # as a fusion of convolutions and norms does
        for name in ("layer1.0", "layer2.1"):
            block, state = net.get_submodule(name), runtime_of(net.get_submodule(name))
            for step in state.branch.steps:
                weight, bias = folded(block, step)
                conv = block.get_submodule(step.conv)
                conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
                block._modules[step.norm] = nn.Identity()
    else:
        kind(net)
    wanted = run(gated())
    assert torch.allclose(run(net), wanted, atol=1e-5)
    with torch.enable_grad():  # the stock forward, masked
        assert torch.allclose(net(images()).detach(), wanted, atol=1e-5)


def test_changed_weights_are_seen():
    net, other = gated(), network(9)
    run(net)
    net.load_state_dict(other.state_dict(), strict=False)
    sparse = run(net)
    with torch.enable_grad():
        assert torch.allclose(net(images()).detach(), sparse, atol=1e-5)
    for p in net.parameters():  # past autograd's counters, as moving averages write
        p.data.mul_(1.05)
    sparse = run(net)
    with torch.enable_grad():
        assert torch.allclose(net(images()).detach(), sparse, atol=1e-5)


@pytest.mark.parametrize("name", ["weight", "bias", "threshold"])
@pytest.mark.parametrize("execution", ["sparse", "dense"])
def test_a_gate_of_no_numbers_is_told_of_once(caplog, name, execution):
    net = gated(execution=execution)
    run(net)
    assert "the gate of" not in caplog.text
    state = net.state_dict()
    state[f"layer1.1.dynconv_gate.{name}"].fill_(float("nan"))
    net.load_state_dict(state)
    run(net), run(net)
    said = [r.message for r in caplog.records if "the gate of" in r.message]
    assert len(said) == 1 and "layer1.1 holds NaN or infinite numbers" in said[0]


def test_gates_are_not_looked_at_while_their_weights_stay(monkeypatch):
    net = gated()
    run(net)
    monkeypatch.setattr(module.GatedBlock, "_look_at", lambda *ignored: pytest.fail("looked"))
    run(net)
