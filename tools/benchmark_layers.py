"""Times the parts of a stock network dense and on blocks: where the ideal is lost.

    python tools/benchmark_layers.py CONFIG [--shape 1024 2048] [--active 0.3] [--depth 2]

A part is a module at a depth of the module tree that holds convolutions: a ResNet's stages.
Its ideal is the share of its multiply-accumulates that is executed. `rest` is what is in no part:
policy, padding, cutting into blocks, composites of the outputs. The dense network has its norms
folded and weights prepacked where that leaves its output as it is; samples are interleaved and
medians shown.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Iterator

import psutil
import torch
from common.arguments import check_stock_config, count, output_file, share
from common.blocks import FixedCount, block_size, config_of, first_output, streams_of
from common.models import dense_core, fused, load_model, moving_frames
from common.provenance import save, without_paths
from mmengine.config import DictAction
from rich.console import Console
from rich.table import Table
from torch import nn

import mmdyn
from mmdyn.conversion import runtime_of
from mmdyn.conversion.tracking import counted
from mmdyn.engine.memory_format import to_channels_last
from mmdyn.ops.allocator import keep_freed_memory

REST = "rest"
WARM_UP = 6  # frames after the first: modules are recorded in the third to sixth


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a stock mmdet or mmseg config, a path or mmdet::…")
    parser.add_argument("--shape", type=count, nargs=2, default=[1024, 2048], metavar="SIDE")
    parser.add_argument("--active", type=share, default=0.3, help="share of the blocks executed")
    parser.add_argument(
        "--block-size", nargs="+", default=["128"], help="side, height width, or auto"
    )
    parser.add_argument("--method", choices=["blockcopy", "segblocks"], default="blockcopy")
    parser.add_argument(
        "--policy", help="name of a policy (default random, and reinforce for SegBlocks)"
    )
    parser.add_argument("--depth", type=count, default=2, help="of the parts in the module tree")
    parser.add_argument("--repeats", type=count, default=5, help="interleaved samples")
    parser.add_argument("--threads", type=count, default=psutil.cpu_count(logical=True))
    parser.add_argument("--json", type=output_file, help="file for the results")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args(argv)
    args.policy = args.policy or ("random" if args.method == "blockcopy" else "reinforce")
    try:
        args.size = block_size(args.block_size)
        config_of(args, args.active, args.size)
    except ValueError as error:
        parser.error(str(error))
    check_stock_config(parser, args.config, args.cfg_options)
    return args


def parts(model: nn.Module, depth: int, above: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Modules at a depth, or leaves above it; containers that are never called do not count."""
    for name, child in model.named_children():
        path = f"{above}{name}"
        called = type(child).forward is not nn.Module.forward
        if called and (depth == 1 or not any(child.children())):
            yield path, child
        else:
            yield from parts(child, depth - called, f"{path}.")


class Stopwatch:
    """Sums the milliseconds that each part takes in a frame."""

    def __init__(self, core: nn.Module, depth: int) -> None:
        self.ms: dict[str, float] = {}
        for path, part in parts(core.model, depth, "model."):
            part.register_forward_pre_hook(self._start)
            part.register_forward_hook(self._stop(path))
        self.started: list[float] = []

    def _start(self, module: nn.Module, args: tuple) -> None:
        self.started.append(time.perf_counter())

    def _stop(self, path: str):
        def hook(module: nn.Module, args: tuple, output) -> None:
            elapsed = (time.perf_counter() - self.started.pop()) * 1e3
            self.ms[path] = self.ms.get(path, 0.0) + elapsed

        return hook

    def frame(self, model: nn.Module, image: torch.Tensor) -> dict[str, float]:
        """Milliseconds of the parts in one frame, and of the rest."""
        self.ms = {}
        started = time.perf_counter()
        model(image)
        total = (time.perf_counter() - started) * 1e3
        return {**self.ms, REST: total - sum(self.ms.values())}


def of_part(path: str, macs: dict[str, float]) -> float:
    """What the layers at a path and below it multiply."""
    return sum(n for layer, n in macs.items() if layer == path or layer.startswith(f"{path}."))


@torch.no_grad()
def dense_twin(core: nn.Module, frame: torch.Tensor) -> nn.Module:
    """The network with folded norms, or as it is where a norm does not follow its convolution."""
    wanted = first_output(core(frame))
    try:
        twin = fused(core)
        got = first_output(twin(frame))
    except RuntimeError:
        return copy.deepcopy(core)
    near = torch.allclose(got, wanted, rtol=1e-2, atol=1e-3 * float(wanted.abs().max()))
    return twin if near else copy.deepcopy(core)


@torch.no_grad()
def measure(args: argparse.Namespace) -> dict:
    core = dense_core(load_model(args.config, args.cfg_options)).eval()
    core = to_channels_last(core)
    frames = moving_frames([1, 3, *args.shape], torch.float32, "cpu")
    with counted(core) as dense_macs:
        core(frames[0])
    dense = dense_twin(core, frames[0])
    mmdyn.convert_model(core, config_of(args, args.active, args.size), trial=False)
    watches = {model: Stopwatch(model, args.depth) for model in (dense, core)}
    dense(frames[0])
    core(frames[0])
    for state in streams_of(core):
        state.controller = FixedCount(args.active)
    for i in range(WARM_UP):
        core(frames[i % len(frames)])
    samples: dict[nn.Module, list[dict[str, float]]] = {dense: [], core: []}
    for i in range(args.repeats):
        for model, watch in watches.items():
            samples[model].append(watch.frame(model, frames[i % len(frames)]))
    executed = runtime_of(core).last_frame.macs
    rows = [
        row_of(
            path, samples[dense], samples[core], of_part(path, dense_macs), of_part(path, executed)
        )
        for path in samples[dense][0]
        if path == REST or of_part(path, dense_macs)
    ]
    return dict(
        config=without_paths(args.config), shape=args.shape, block_size=args.size,
        method=args.method, active=args.active, depth=args.depth, repeats=args.repeats, parts=rows,
        threads=torch.get_num_threads(), torch=torch.__version__,
    )  # fmt: skip


def row_of(path: str, dense: list, sparse: list, dense_macs: float, macs: float) -> dict:
    """The numbers of a part: medians of its times, and what became of its ideal."""
    dense_ms, sparse_ms = (
        statistics.median(frame.get(path, 0.0) for frame in frames) for frames in (dense, sparse)
    )
    share = macs / dense_macs if dense_macs else None
    frac = share * dense_ms / sparse_ms if share and sparse_ms else None
    return dict(
        part=path.removeprefix("model."), dense_gmacs=dense_macs / 1e9, share=share,
        dense_ms=dense_ms, sparse_ms=sparse_ms, frac=frac,
    )  # fmt: skip


def show(found: dict) -> None:
    table = Table("part", "GMACs", "executed", "dense ms", "on blocks ms", "of ideal")
    for row in found["parts"]:
        share, frac = row["share"], row["frac"]
        table.add_row(
            row["part"], f"{row['dense_gmacs']:.2f}", "-" if share is None else f"{share:.1%}",
            f"{row['dense_ms']:.1f}", f"{row['sparse_ms']:.1f}",
            "-" if frac is None else f"{frac:.2f}",
        )  # fmt: skip
    Console(width=120).print(table)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    keep_freed_memory()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    found = measure(args)
    show(found)
    if args.json:
        save(args.json, found)


if __name__ == "__main__":
    main()
