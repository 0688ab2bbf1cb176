"""Peak memory of a training step and of a prediction, dense and with SegBlocks.

    python tools/memory.py CONFIG [--shape 512 1024] [--batch 2] [--budgets 0.4 0.2]

CONFIG is a stock segmentor's. Each number comes from a process of its own: what the pass needed
beyond the model that was already there, weights, gradients and optimizer excluded; on a GPU as
torch counts it, on a CPU the growth of the process' resident memory.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from common.models import load_model
from mmengine.structures import PixelData
from rich.console import Console
from rich.table import Table

import mmdyn
from mmdyn.engine.memory_format import to_channels_last


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a stock mmseg config, a path or mmseg::…")
    parser.add_argument("--shape", type=int, nargs=2, default=[512, 1024], metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=2, help="images of a training step")
    parser.add_argument("--block-size", type=int, default=128)
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.4, 0.2])
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what a child process measures
    return parser.parse_args()


def samples(size: tuple[int, int], count: int, classes: int) -> list:
    """Labelled samples of noise."""
    from mmseg.structures import SegDataSample

    from mmdyn.conversion.hosts.openmmlab import example_metas

    made = []
    for _ in range(count):
        sample = SegDataSample(metainfo=example_metas(size))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, classes, (1, *size)))
        made.append(sample)
    return made


WARM = 8  # predictions, after which modules are replayed


def measure(args: argparse.Namespace, budget: float | None, training: bool) -> list[float]:
    """MiB of a pass after others that filled caches, and the most of those after the first."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = to_channels_last(load_model(args.config)).to(device).train(training)
    if budget is not None:
        config = mmdyn.SegBlocksConfig(budget=budget, block_size=args.block_size)
        mmdyn.convert_model(model, config, trial=False)
    size, count = (args.shape[0], args.shape[1]), args.batch if training else 1
    image = torch.randn(count, 3, *size, device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    labelled = [s.to(device) for s in samples(size, count, model.decode_head.num_classes)]

    def step() -> None:
        if not training:
            with torch.no_grad():
                model(image, labelled, mode="predict")
            return
        losses = model(image, labelled, mode="loss")
        sum(v for k, v in losses.items() if "loss" in k).backward()

    step()
    peaks = [_peak_of(step, device) for _ in range(2 if training else WARM)]
    return [peaks[-1], max(peaks[:-1])]


def _peak_of(step: Callable[[], None], device: str) -> float:
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    ctypes.CDLL(None).malloc_trim(0)  # what the allocator keeps of earlier passes
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    step()
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def child(args: argparse.Namespace, budget: float | None, training: bool) -> list[float]:
    """The same in a process of its own."""
    what = json.dumps([budget, training])
    run = subprocess.run(
        [sys.executable, *sys.argv, "--one", what], capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise SystemExit(f"tools/memory.py: a measuring process failed:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    args = parse_args()
    if args.one:
        print(measure(args, *json.loads(args.one)))
        return
    columns = "training MiB", "of dense", "prediction MiB", "of dense", "while recording MiB"
    table = Table("full resolution", *columns)
    rows: list[dict] = []
    for budget in [None, *args.budgets]:
        (train, _), (test, recording) = child(args, budget, True), child(args, budget, False)
        row = dict(budget=budget, train=train, test=test, recording=recording)
        rows.append(row)
        table.add_row(
            "dense" if budget is None else f"{budget:.0%}",
            f"{row['train']:.0f}", f"{row['train'] / rows[0]['train']:.2f}",
            f"{row['test']:.0f}", f"{row['test'] / rows[0]['test']:.2f}",
            f"{row['recording']:.0f}",
        )  # fmt: skip
    Console(width=100).print(table)
    print(f"{args.config}, {args.shape}, {args.batch} images a step, torch {torch.__version__}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
