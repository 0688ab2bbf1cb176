"""DynConv's line over stock configs: training, checkpoints, resume, averages, processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmdyn.conversion import is_converted, restore_model, runtime_of
from mmdyn.conversion.dynconv_runtime import gates_of
from tests.conversion.gated_networks import executing
from tests.engine.gated_hosts import HOSTS, batch, build
from tests.engine.stock import STOCK, runner_of, write_images

GATED = dict(type="mmdyn.DynConv", budget=0.5, open_init=0.6, execution="sparse")
both = pytest.mark.parametrize("package", STOCK)
hosts = pytest.mark.parametrize("name", HOSTS)


@hosts
def test_a_host_trains_with_its_gates(name):
    model = build(name, budget=0.4, weight=3.0).train()
    data = model.data_preprocessor(batch(name), True)
    losses = model(**data, mode="loss")
    assert {"loss_sparsity", "density"} <= losses.keys()
    total, logged = model.parse_losses(losses)
    total.backward()
    assert float(logged["loss_sparsity"]) > 0 and 0.3 < float(logged["density"]) <= 1.1
    for gate in gates_of(model):
        assert bool(torch.isfinite(gate.weight.grad).all()) and gate.weight.grad.any()


@hosts
def test_a_host_runs_sparse_as_it_runs_masked(name):
    model = build(name, budget=0.4, open_init=0.5, execution="sparse").eval()
    for gate in gates_of(model):
        gate.weight.data.mul_(4)
    inputs = model.data_preprocessor(batch(name), False)["inputs"]
    with torch.no_grad():
        sparse = model.extract_feat(inputs)
        share = runtime_of(model).stats["executed_share"]
        dense = executing(model, "dense").extract_feat(inputs)
    assert 0.05 < share < 0.95
    for one, other in zip(sparse, dense):
        assert (one - other).abs().max() <= 1e-5 * max(1.0, float(other.abs().max()))


@hosts
def test_a_host_with_a_budget_of_one_is_the_stock_host(name):
    model, stock = build(name, budget=1.0).eval(), build(name).eval()
    keys = [k for k in model.state_dict() if "dynconv_gate" not in k]
    assert keys == list(stock.state_dict())
    model.load_state_dict(stock.state_dict(), strict=False)
    inputs = model.data_preprocessor(batch(name), False)["inputs"]
    with torch.no_grad():
        for one, other in zip(model.extract_feat(inputs), stock.extract_feat(inputs)):
            assert torch.equal(one, other)
    restore_model(model)
    assert list(model.state_dict()) == keys and type(model) is type(stock)


@both
def test_the_line_trains_tests_and_resumes(package, tmp_path):
    write_images(tmp_path)
    hook = {"default_hooks.dynconv": dict(type="mmdyn.DynConvHook", batches=2)}
    runner = runner_of(package, tmp_path, line=GATED, **hook)
    runner.model.init_weights()  # training would do it, and not again
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.train()
    model = runner.model
    assert is_converted(model) and type(model).__name__.startswith("DynConv")
    assert runtime_of(model)._now == 0.5  # of two iterations the second
    hub = runner.message_hub.log_scalars
    assert {"train/loss_sparsity", "train/density"} <= hub.keys()
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert all(any(k.endswith(n) for k in changed) for n in ("dynconv_gate.weight", "conv1.weight"))
    metrics = runner.test()
    assert metrics["dynconv/executed_share"] == pytest.approx(0.5, abs=0.1)
    saved = tmp_path / "work" / "iter_2.pth"
    state = torch.load(saved, weights_only=False)["state_dict"]
    stock = runner_of(package, tmp_path).model
    assert [k for k in state if "dynconv_gate" not in k] == list(stock.state_dict())
    more = {"train_cfg.max_iters": 4, "resume": True, "load_from": str(saved)}
    resumed = runner_of(package, tmp_path, line=GATED, **more)
    resumed.train()
    assert resumed.iter == 4 and runtime_of(resumed.model)._now == 0.75


def test_frozen_stages_stay_frozen_and_their_gates_learn(tmp_path):
    write_images(tmp_path)
    settings = {"model.backbone.frozen_stages": 1, "model.backbone.norm_eval": True}
    runner = runner_of("mmdet", tmp_path, line=GATED, **settings)
    runner.model.init_weights()  # training would do it, and not again
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.train()
    stage = {k: v for k, v in runner.model.state_dict().items() if "layer1.0" in k}
    changed = {k.split("layer1.0.")[1] for k, v in stage.items() if not torch.equal(v, before[k])}
    assert changed == {"dynconv_gate.weight", "dynconv_gate.bias"}


def test_gates_may_have_a_learning_rate_and_no_weight_decay(tmp_path):
    keys = dict(dynconv_gate=dict(lr_mult=10.0, decay_mult=0.0))
    optimizer = dict(type="SGD", lr=0.01, weight_decay=0.1)
    runner = runner_of("mmdet", tmp_path, line=GATED, **{"optim_wrapper.optimizer": optimizer,
        "optim_wrapper.paramwise_cfg": dict(custom_keys=keys)})  # fmt: skip
    wrapper = runner.build_optim_wrapper(runner.cfg.optim_wrapper)
    gates = {id(p) for g in gates_of(runner.model) for p in g.parameters()}
    groups = [g for g in wrapper.optimizer.param_groups if id(g["params"][0]) in gates]
    assert len(groups) == len(gates)
    assert {(g["lr"], g["weight_decay"]) for g in groups} == {(0.1, 0.0)}


def test_averaged_weights_and_bfloat16(tmp_path):
    write_images(tmp_path)
    runner = runner_of(
        "mmseg", tmp_path, line=GATED, custom_hooks=[dict(type="EMAHook", momentum=0.5)],
        **{"optim_wrapper.type": "mmdyn.AutocastOptimWrapper"},
    )  # fmt: skip
    runner.train()
    saved = torch.load(tmp_path / "work" / "iter_2.pth", weights_only=False)
    average = {k[len("module.") :] for k in saved["ema_state_dict"] if k != "steps"}
    assert average == set(runner.model.state_dict())
    assert runner.test()
    for value in runner.model.state_dict().values():
        assert bool(torch.isfinite(value.float()).all())


def test_the_hook_refuses_a_model_without_gates(tmp_path):
    write_images(tmp_path)
    hook = {"default_hooks.dynconv": dict(type="mmdyn.DynConvHook")}
    with pytest.raises(ValueError, match="type='mmdyn.DynConv'"):
        runner_of("mmdet", tmp_path, **hook).test()


_PROCESS = """
import os, sys, types, torch
sys.modules["tests"] = types.ModuleType("tests")  # not a package that others install
sys.modules["tests"].__path__ = ["tests"]
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tests.conversion.gated_networks import gated, images
from mmdyn.conversion import runtime_of
from mmdyn.conversion.dynconv_runtime import gates_of
rank, file = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method="file://" + file, rank=rank, world_size=2)
net = gated(noise_until=0.0, budget=0.3).train()
net.layer1.requires_grad_(False)  # a frozen stage; its gates learn
net.train()
inside = runtime_of(net)
class Loss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net
    def forward(self, x):
        out = self.net(x).square().mean()
        return out + inside.losses["loss_sparsity"]
model = DistributedDataParallel(Loss(), broadcast_buffers=False)
trained = [p for p in net.parameters() if p.requires_grad]
optimizer = torch.optim.SGD(trained, 0.05)
for step in range(3):
    optimizer.zero_grad()
    model(images(2, seed=10 * step + rank)).backward()
    optimizer.step()
thresholds = [g.threshold.view(1) for g in gates_of(net)]
mine = torch.cat([p.detach().flatten() for p in trained] + thresholds)
other = [torch.empty_like(mine) for _ in range(2)]
dist.all_gather(other, mine)
assert torch.equal(other[0], other[1])
assert all(float(t) != 0 for t in thresholds)
print("alike", flush=True)
dist.destroy_process_group()
os._exit(0)  # the interpreter's own end now and then aborts under gloo
"""


def test_two_processes_keep_the_same_weights_and_thresholds(tmp_path):
    root = Path(__file__).resolve().parents[2]
    settings = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _PROCESS]
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], env=settings, cwd=root,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]  # fmt: skip
    for process in processes:
        out, errors = process.communicate(timeout=240)
        assert out.strip() == "alike", errors[-2000:]
