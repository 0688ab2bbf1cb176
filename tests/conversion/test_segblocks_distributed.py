"""SegBlocks in two processes on the CPU: DDP, and batch norm over both."""

import os
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from mmdyn import compat
from tests.conversion import segmentors
from tests.conversion.networks import network
from tests.conversion.test_segblocks import converted, images

ROOT = Path(__file__).resolve().parents[2]

# Names this folder's `tests`: some installed package may have one of its own.
PROCESS = """
import sys, types
root, rank, folder = sys.argv[1:]
sys.path.insert(0, root)
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["tests"].__path__ = [root + "/tests"]
from tests.conversion.test_segblocks_distributed import work
work(int(rank), folder)
"""


def synced(net: nn.Module) -> nn.Module:
    return nn.SyncBatchNorm.convert_sync_batchnorm(net)


def step(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Output and gradients of a training step."""
    out = model(x)
    (out**2).sum().backward()
    return (out.detach(), *(p.grad for p in model.parameters()))


def work(rank: int, folder: str) -> None:
    compat.prepare()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    found = {}
    net = converted(synced(network().double()), policy="centre", budget=0.4).train()
    found["synced"] = step(net, images().double()[rank : rank + 1])
    found["statistics"] = net.norm.state_dict()
    late = synced(converted(network().double(), policy="centre", budget=0.4)).train()
    found["synced late"] = step(late, images().double()[rank : rank + 1])

    model = nn.parallel.DistributedDataParallel(segmentors.converted())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for iteration in range(2):
        losses = segmentors.losses_of(model, seed=10 * rank + iteration)
        optimizer.zero_grad()
        segmentors.total(losses).backward()
        optimizer.step()
    found["weights"] = {name: p.detach() for name, p in model.module.named_parameters()}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
    os._exit(0)  # the interpreter's own end now and then aborts under gloo


def test_two_processes(tmp_path):
    untrained = segmentors.converted().state_dict()
    started = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(ROOT), str(rank), str(tmp_path)])
        for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in started] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))

    net = converted(network().double(), policy="centre", budget=0.4).train()
    out, *gradients = step(net, images().double())
    assert torch.allclose(torch.cat([first["synced"][0], second["synced"][0]]), out)
    for found in (first, second):  # a runner's order: converted first, synchronised later
        for late, mine in zip(found["synced late"], found["synced"], strict=True):
            assert torch.equal(late, mine)
    for mine, a, b in zip(gradients, first["synced"][1:], second["synced"][1:], strict=True):
        assert torch.allclose(a + b, mine, atol=1e-9)
    for name, value in net.norm.state_dict().items():
        assert torch.allclose(first["statistics"][name], value), name
        assert torch.equal(first["statistics"][name], second["statistics"][name]), name

    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name
        assert bool(value.isfinite().all())
    changed = [not torch.equal(v, untrained[name]) for name, v in first["weights"].items()]
    assert any(changed) and any(
        c for c, name in zip(changed, first["weights"]) if name.startswith("block_policy.")
    )
