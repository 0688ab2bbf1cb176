"""What all gates of a network share: losses, progress, thresholds, statistics."""

import io
from dataclasses import replace

import pytest
import torch
from mmengine.logging import MessageHub
from torch import nn

import mmdyn
from mmdyn.conversion import runtime_of
from mmdyn.conversion.dynconv_runtime import gates_of
from tests.conversion.gated_networks import gated, images, network


def run(net, x=None):
    with torch.no_grad():
        return net(images() if x is None else x)


@pytest.mark.parametrize("budget", [0.3, 0.6])
@pytest.mark.parametrize("tile", [1, 2])
def test_calibration_meets_the_budget_within_one_percent(budget, tile):
    net = gated(budget=budget, tile=tile)
    x = images(24)
    threshold, share = mmdyn.calibrate(net, lambda: run(net, x))
    assert share == pytest.approx(budget, rel=0.01)
    run(net, x)
    assert runtime_of(net).stats["executed_share"] == pytest.approx(budget, rel=0.01)
    assert all(float(g.threshold) == pytest.approx(threshold) for g in gates_of(net))


@pytest.mark.parametrize("tile", [1, 2])
@pytest.mark.parametrize("calibrated", [True, False])
def test_topk_meets_the_budget_in_every_image(tile, calibrated):
    net = gated(budget=0.4, tile=tile, select="topk")
    x = images(6) * torch.tensor([0.2, 0.5, 1.0, 1.5, 2.0, 4.0]).view(-1, 1, 1, 1)
    if calibrated:
        mmdyn.calibrate(net, lambda: run(net, x))
        assert len({float(gate.part) for gate in gates_of(net)}) > 1
    together = run(net, x)
    for k in range(len(x)):
        runtime_of(net).reset()
        alone = run(net, x[k : k + 1])
        assert runtime_of(net).stats["executed_share"] == pytest.approx(0.4, abs=0.01)
        assert torch.allclose(alone, together[k : k + 1], atol=1e-5)
    with torch.enable_grad():  # masked as sparse
        assert torch.allclose(net(x), together, atol=1e-5)


def test_a_calibration_that_fails_leaves_the_model_as_it_was():
    net = gated().train()
    for gate, threshold in zip(gates_of(net), (0.1, 0.2)):
        gate.threshold.fill_(threshold)
    kept = [float(g.threshold) for g in gates_of(net)]
    with pytest.raises(ZeroDivisionError):
        mmdyn.calibrate(net, lambda: 1 / 0)
    with pytest.raises(ValueError, match="did not run"):
        mmdyn.calibrate(net, lambda: None)
    assert net.training and [float(g.threshold) for g in gates_of(net)] == kept


def test_calibration_sees_weights_that_were_written_past_their_counters():
    net = gated(budget=0.4)
    mmdyn.calibrate(net, lambda: run(net))
    for p in net.layer1.parameters():
        if p.dim() == 4:
            p.data.mul_(3)
    mmdyn.calibrate(net, lambda: net.features(images()))
    run(net)
    assert runtime_of(net).stats["executed_share"] == pytest.approx(0.4, rel=0.01)


@pytest.mark.parametrize("select", ["threshold", "topk"])
def test_a_saved_and_loaded_gated_network_decides_alike(select):
    net = gated(select=select)
    mmdyn.calibrate(net, lambda: run(net))
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other = gated(network(4), select=select)
    other.load_state_dict(torch.load(file))
    assert torch.equal(run(other), run(net))


def test_gates_learn_from_the_task_and_from_the_budget():
    net = gated().train()
    net(images()).square().sum().backward()
    for gate in gates_of(net):
        assert float(gate.weight.grad.abs().sum()) > 0
    net = gated(budget=0.2).train()
    net(images())
    runtime_of(net).losses["loss_sparsity"].backward()
    for gate in gates_of(net):
        assert float(gate.bias.grad) > 0  # opening costs


def test_progress_is_the_runners_or_what_the_loop_says():
    net = gated().train()
    runtime, hub = runtime_of(net), MessageHub.get_current_instance()
    kept = {k: hub.runtime_info.get(k) for k in ("iter", "max_iters")}
    runtime.progress = None
    try:
        hub.update_info("iter", 30)
        hub.update_info("max_iters", 120)
        net(images())
        assert runtime._now == 0.25
        runtime.progress = 0.6
        net(images())
        assert runtime._now == 0.6
    finally:
        for name, value in kept.items():
            hub.update_info(name, value)


def test_noise_ends_and_thresholds_then_follow_the_budget():
    net = gated(budget=0.2, noise_until=0.5).train().requires_grad_(False)
    runtime, x = runtime_of(net), images(1)

    def densities():
        return {float((net(x), runtime.losses["density"])[1]) for _ in range(4)}

    runtime.progress = 0.4
    assert len(densities()) > 1  # noise: each call decides anew
    assert all(float(g.threshold) == 0 for g in gates_of(net))
    runtime.progress = 0.9
    first = float(max(densities()))
    for _ in range(40):
        net(x)
    assert all(float(g.threshold) > 0 for g in gates_of(net))
    assert abs(max(densities()) - 0.2) < 0.05 < first - 0.2
    kept = [float(g.threshold) for g in gates_of(net)]
    runtime.config = replace(runtime.config, budget=0.9)
    run(net)  # training mode, but nothing learns
    assert [float(g.threshold) for g in gates_of(net)] == kept


def test_training_from_calibrated_gates_starts_at_their_budget():
    net, x = gated(budget=0.3, open_init=0.9, noise_until=0.5), images(8)
    for gate in gates_of(net):
        gate.weight.data.mul_(10)  # logits of trained gates, which noise changes little
    mmdyn.calibrate(net, lambda: run(net, x))
    net.train().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    runtime, found = runtime_of(net), {}
    for progress in (0.0, 0.49, 0.5):
        runtime.progress = progress
        net(x)
        found[progress] = float(runtime.losses["density"])
    assert all(share == pytest.approx(0.3, abs=0.06) for share in found.values()), found


def test_a_loss_dict_gains_the_loss_and_the_density():
    class Losses(type(network())):
        def forward(self, x):
            return dict(loss=super().forward(x).mean())

    net = network()
    net.__class__ = Losses
    gated(net, budget=0.3, weight=7.0).train()
    found = net(images())
    assert found.keys() == {"loss", "loss_sparsity", "density"}
    assert found["loss_sparsity"].requires_grad and not found["density"].requires_grad
    half = gated(network(), budget=0.3, weight=3.5).train()
    torch.manual_seed(2)
    net(images())
    torch.manual_seed(2)
    half(images())
    one, other = (float(runtime_of(n).losses["loss_sparsity"].detach()) for n in (net, half))
    assert one == pytest.approx(2 * other, rel=1e-4)
    assert net.eval()(images()).keys() == {"loss"}


def test_statistics_add_up_until_they_are_reset():
    net = gated()
    run(net)
    once = runtime_of(net).stats
    run(net)
    twice = runtime_of(net).stats
    assert twice["dense_gmacs"] == pytest.approx(2 * once["dense_gmacs"])
    assert twice["executed_share"] == pytest.approx(once["executed_share"])
    assert once["blocks"].keys() == {f"layer{s}.{k}" for s in (1, 2) for k in range(3)}
    mmdyn.reset(net)
    assert runtime_of(net).stats == {}


class WithRois(nn.Module):
    """A backbone of images and a head of their regions."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = network(), network(1)

    def forward(self, x, rois=5):
        regions = x[:1, :, :8, :8].expand(rois, -1, -1, -1)
        return self.backbone.features(x).mean() + self.head.features(regions).sum()


def test_blocks_of_regions_train_with_those_of_images():
    net = gated(WithRois(), per="batch").train()
    for rois in (5, 0):
        net(images(), rois)
        losses = runtime_of(net).losses
        losses["loss_sparsity"].backward()
        assert 0 < float(losses["density"]) < 1.2
    run(net.eval())
    assert 0 < runtime_of(net).stats["executed_share"] < 1
    net = gated(WithRois(), per="image").train()
    with pytest.raises(ValueError, match=r"head.layer1.0 \(5\).*per='batch'"):
        net(images())


def test_gates_that_never_run_are_named_once(caplog):
    net = gated(WithRois()).train()
    for _ in range(2):
        runtime_of(net).begin()
        net.backbone.features(images())
        runtime_of(net).finish(net)
    (record,) = [r for r in caplog.records if "did not run" in r.getMessage()]
    assert "head.layer2.2" in record.getMessage() and "backbone" not in record.getMessage()


def test_a_call_that_fails_says_nothing_of_its_gates(caplog):
    net = gated().train()
    with pytest.raises(RuntimeError):
        net(torch.zeros(1, 5, 8, 8))  # three channels are expected
    assert not [r for r in caplog.records if "did not run" in r.getMessage()]
    net(images())
    assert {"loss_sparsity", "density"} == runtime_of(net).losses.keys()


def test_calls_on_maps_of_several_sizes_weigh_with_their_arithmetic():
    net = gated(budget=0.9, noise_until=0.0)
    runtime, small = runtime_of(net), images()[:, :, :6, :6]
    for x in (images(), small):
        run(net, x)
    wanted = runtime.stats["executed_share"]
    for gate in gates_of(net):
        gate.train()  # norms stay as they are
    runtime.begin()
    for x in (images(), small):
        net.features(x)
    assert float(runtime.finish(net)["density"]) == pytest.approx(wanted, rel=1e-4)


def test_a_batch_of_no_numbers_leaves_the_thresholds():
    net = gated(noise_until=0.0).train()
    net(images() * float("nan"))
    assert torch.isnan(runtime_of(net).losses["density"])
    assert all(float(gate.threshold) == 0.0 for gate in gates_of(net))
    assert float(runtime_of(net).density) == 0.5
