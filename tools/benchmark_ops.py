"""Times the compiled copies against PyTorch's own operators, one by one and in a whole network.

    python tools/benchmark_ops.py [--config CONFIG --shape H W --block-size 128] [--json OUT.json]

The compiled library is left alone at first and loaded between the two. In the network the same
frames run interleaved through two converted copies, recorded before and after.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch

os.environ["MMDYN_COMPILED"] = "0"  # before mmdyn is imported, which would load the library

from common.arguments import check_stock_config, count, output_file, share
from common.blocks import FixedCount, block_size, streams_of
from common.models import dense_core, load_model, moving_frames
from common.provenance import save, without_paths
from rich.console import Console
from rich.table import Table

import mmdyn
from mmdyn.blocks import BlockGrid, Level
from mmdyn.conversion import runtime_of
from mmdyn.engine.memory_format import to_channels_last
from mmdyn.ops import cells, compiled, windows
from mmdyn.ops.allocator import keep_freed_memory
from mmdyn.ops.conv import linear

# Channels and block side of maps in DeepLabV3+ R50 at 1024x2048, blocks of 128 px: 16 x 8 cells.
MAPS = [(64, 32), (128, 16), (256, 8), (512, 8), (2048, 8), (304, 32)]
ACTIVE = 38


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", help="a stock config for the whole network")
    parser.add_argument("--shape", type=count, nargs=2, default=[1024, 2048], help="H W")
    parser.add_argument("--block-size", default="128", help="side, or auto")
    parser.add_argument("--active", type=share, default=0.3)
    parser.add_argument("--threads", type=count, default=2)
    parser.add_argument("--repeats", type=count, default=6)
    parser.add_argument("--json", type=output_file, help="file for the results")
    args = parser.parse_args()
    try:
        args.size = block_size([args.block_size])
    except ValueError as error:
        parser.error(str(error))
    if args.config:
        check_stock_config(parser, args.config, {})
    return args


def calls_of(channels: int, side: int) -> dict[str, Callable]:
    """Each operator on one map."""
    levels = torch.zeros(128, dtype=torch.uint8)
    levels[torch.randperm(128)[:ACTIVE]] = 1
    block, halo = (side, side), (1, 1, 1, 1)
    grid = BlockGrid(levels.view(1, 8, 16), block)
    x = torch.randn(ACTIVE, channels, *block).to(memory_format=torch.channels_last)
    dense = torch.randn(1, channels, 8 * side, 16 * side).to(memory_format=torch.channels_last)
    ring, lines = grid.ring(block, halo), grid.lines(Level.FULL, block)
    store = torch.zeros(1 + 128 * ring.count, channels)
    index, places = grid.halo(Level.FULL, block, halo, halo, "constant")
    rows = grid.ring_rows(Level.FULL, ring.count)
    found = dict(
        gather_windows=lambda: windows.gather_windows(x, store, index, places, halo),
        write_ring=lambda: windows.write_ring(store, rows, x, ring.positions),
        gather_cells=lambda: cells.gather_cells(dense, lines, side),
        scatter_cells=lambda: cells.scatter_cells(dense, lines, x),
    )
    if side == 8:
        whole = torch.randn(1 + 128 * 64, channels)
        taps = grid.taps(block, block, (3, 3), (1, 1), (12, 12), (12, 12))
        kernel, bias = torch.randn(9, channels), torch.randn(channels)
        found["depthwise_taps"] = lambda: linear.depthwise_taps(whole, taps, kernel, bias, True)
    return found


def best_ms(call: Callable, repeats: int = 15) -> float:
    """The fastest of some calls: what the machine can do when nothing disturbs it."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1e3)
    return min(times)


class Network:
    """A converted network that runs the same number of blocks in every frame."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        core = to_channels_last(dense_core(load_model(args.config))).eval()
        config = mmdyn.BlockCopyConfig(
            budget=args.active, block_size=args.size, policy=dict(type="random", seed=0),
            scene_cut=1e9, refresh=None, max_age=10**6, dense_fallback=False,
        )  # fmt: skip
        mmdyn.convert_model(core, config, trial=False)
        self.core = core

    def settle(self, frames: list, count: int = 6) -> None:
        """The first frame, and those in which modules are recorded."""
        self.core(frames[0])
        for state in streams_of(self.core):
            state.controller = FixedCount(runtime_of(self.core).config.budget)
        for i in range(count):
            self.core(frames[i % len(frames)])


def main() -> None:
    args = parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    libraries = compiled.found()
    served = torch._C._dispatch_has_kernel_for_dispatch_key("mmdyn::write_ring", "CPU")
    if served or not libraries:
        raise SystemExit("no compiled library: run python -m mmdyn.ops.compiled, then this again")
    with torch.no_grad():
        maps = {(c, side): calls_of(c, side) for c, side in MAPS}
        rows = [
            dict(op=op, channels=c, side=side, torch_ms=best_ms(call))
            for (c, side), calls in maps.items() for op, call in calls.items()
        ]  # fmt: skip
        found = dict(ops=rows, torch=torch.__version__, threads=args.threads)
        frames = moving_frames([1, 3, *args.shape], torch.float32, "cpu")
        networks = [Network(args)] if args.config else []
        for network in networks:
            network.settle(frames)
        assert compiled.load(libraries[0])
        for row in rows:
            row["compiled_ms"] = best_ms(maps[row["channels"], row["side"]][row["op"]])
        if networks:
            networks.append(Network(args))
            networks[1].settle(frames)
            times: list[list[float]] = [[], []]
            for i in range(args.repeats):
                for network, taken in zip(networks, times):
                    taken.append(best_ms(lambda n=network, f=frames[i % 4]: n.core(f), 1))
            found["network"] = dict(
                config=without_paths(args.config), shape=args.shape, active=args.active,
                torch_ms=times[0], compiled_ms=times[1],
                ratio=statistics.median(b / a for a, b in zip(*times)),
            )  # fmt: skip
    show(found)
    if args.json:
        save(args.json, found)


def show(found: dict) -> None:
    table = Table("operator", "channels", "block", "PyTorch ms", "compiled ms", "x")
    for row in found["ops"]:
        table.add_row(
            row["op"], str(row["channels"]), str(row["side"]), f"{row['torch_ms']:.3f}",
            f"{row['compiled_ms']:.3f}", f"{row['torch_ms'] / row['compiled_ms']:.2f}",
        )  # fmt: skip
    console = Console(width=110)
    console.print(table)
    if "network" in found:
        net = found["network"]
        console.print(f"{net['config']}: compiled / PyTorch {net['ratio']:.3f} (median of pairs)")


if __name__ == "__main__":
    main()
