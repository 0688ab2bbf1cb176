"""Times a stock network dense and on blocks, on the clock and against the best dense baseline.

    python tools/benchmark.py CONFIG [--shape 1024 2048] [--active 0.3] [--policy random]
        [--method blockcopy] [--dtype fp32] [--block-size 128] [--json OUT.json]

Baselines: eager channels-last; batch norm folded and weights prepacked; torch.compile with
freezing; on CUDA mmcv's MaskedConv2d is timed beside them. All share threads and allocator. Samples
are interleaved; one taken while other processes used the CPU is taken again. The frames
in which modules are recorded for replay come before the samples and are reported apart, as first
frames.
"""

import argparse
import json
import resource
import statistics
import time
from dataclasses import replace

import psutil
import torch
from common.blocks import FixedCount, block_size, config_of, first_output, streams_of
from common.clock import Clock
from common.masked import MaskedCore
from common.models import baselines, dense_core, load_model, moving_frames
from mmengine.config import DictAction
from rich.console import Console
from rich.table import Table

import mmdyn
from mmdyn.conversion import runtime_of
from mmdyn.engine.memory_format import to_channels_last
from mmdyn.ops.allocator import keep_freed_memory

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a stock mmdet or mmseg config, a path or mmdet::…")
    parser.add_argument("--shape", type=int, nargs="+", default=[1024, 2048], help="H W or N C H W")
    parser.add_argument(
        "--active",
        type=float,
        nargs="+",
        default=[0.3],
        help="shares executed, or at full resolution",
    )
    parser.add_argument(
        "--block-size", nargs="+", default=["128"], help="side, height width, or auto"
    )
    parser.add_argument("--method", choices=["blockcopy", "segblocks"], default="blockcopy")
    parser.add_argument(
        "--policy", help="name of a policy (default random, and reinforce for SegBlocks)"
    )
    parser.add_argument("--dtype", choices=list(DTYPES), default="fp32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=True))
    parser.add_argument("--repeats", type=int, default=5, help="interleaved samples (default 5)")
    parser.add_argument(
        "--warm-up", type=int, default=6, help="frames after the first, before samples (default 6)"
    )
    parser.add_argument("--skip", nargs="*", default=[], help="baselines to leave out")
    parser.add_argument(
        "--retries", type=int, default=5, help="times a disturbed sample is retaken"
    )
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    args.policy = args.policy or ("random" if args.method == "blockcopy" else "reinforce")
    return args


def measure(args: argparse.Namespace, active: float, clock: Clock) -> dict:
    """One row: dense and sparse, interleaved."""
    dtype, device = DTYPES[args.dtype], args.device
    core = dense_core(load_model(args.config, args.cfg_options)).to(device, dtype)
    core = to_channels_last(core).eval()
    shape = args.shape if len(args.shape) == 4 else [1, 3, *args.shape]
    frames = moving_frames(shape, dtype, device)
    dense = baselines(core, frames[0], args.skip)
    size = block_size(args.block_size)
    peers = peers_of(core, args, active, size)
    started = time.perf_counter()
    mmdyn.convert_model(core, config_of(args, active, size), trial=False)
    conversion_ms = (time.perf_counter() - started) * 1e3
    check, first_ms = all_full(core, next(iter(dense.values())), frames[0])
    for state in streams_of(core):
        state.controller = FixedCount(active)
    times: dict[str, list[float]] = {name: [] for name in [*dense, *peers, "sparse"]}
    policy, shares = [], []
    with torch.no_grad():
        for call in [*dense.values(), *peers.values()]:
            call(frames[0])
        first_frames = [first_ms]
        for i in range(args.warm_up):
            core(frames[i % len(frames)])
            first_frames.append(runtime_of(core).stats["ms"])
        for repeat in range(args.repeats):
            frame = frames[repeat % len(frames)]
            for name, call in {**dense, **peers}.items():
                times[name].append(clock.sample(lambda c=call, f=frame: c(f)))
            times["sparse"].append(clock.sample(lambda f=frame: core(f)))
            policy.append(runtime_of(core).stats["policy_ms"])
            stats = runtime_of(core).stats
            shares.append(stats.get("arithmetic_share", stats["executed_share"]))
    dense_ms = {name: statistics.median(times[name]) for name in dense}
    sparse_ms, share = statistics.median(times["sparse"]), statistics.mean(shares)
    speedup = min(dense_ms.values()) / sparse_ms
    stats = runtime_of(core).stats
    return dict(
        active=share, dense_ms=dense_ms,
        peer_ms={name: statistics.median(times[name]) for name in peers},
        sparse_ms=sparse_ms, policy_ms=statistics.median(policy),
        speedup=speedup, ideal=1 / share if share else None, frac=speedup * share,
        first_frame_ms=first_ms, first_frames_ms=first_frames, conversion_ms=conversion_ms,
        state_mb=stats.get("state_mb", 0.0), method=args.method,
        full_share=stats["executed_share"],
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        max_abs_difference_all=check, gmacs=stats["gmacs"], dense_gmacs=stats["dense_gmacs"],
        samples_ms=times, config=args.config, shape=shape, block_size=size, policy=args.policy,
        dtype=args.dtype, device=device, threads=torch.get_num_threads(),
        disturbed_samples=clock.disturbed, torch=torch.__version__,
    )  # fmt: skip


def peers_of(core, args: argparse.Namespace, active: float, size) -> dict[str, MaskedCore]:
    """What else skips pixels: mmcv's MaskedConv2d, which runs on CUDA, a batch of one image."""
    one_image = len(args.shape) == 2 or args.shape[0] == 1
    if args.device != "cuda" or not one_image or args.method != "blockcopy" or size == "auto":
        return {}
    sides = (size, size) if isinstance(size, int) else size
    return {"masked": MaskedCore(core, active, sides)}


@torch.no_grad()
def all_full(core, dense, frame: torch.Tensor) -> tuple[float, float]:
    """Largest difference to the dense network with every block at full resolution, and its time."""
    runtime = runtime_of(core)
    config = runtime.config
    if isinstance(config, mmdyn.SegBlocksConfig):
        runtime.config = replace(config, budget=1.0)
    got = first_output(core(frame))  # a stream's first frame runs all of its blocks
    runtime.config = config
    return float((got - first_output(dense(frame))).abs().max()), runtime.stats["ms"]


def times(factor: float | None) -> str:
    """A speed-up; '-' where nothing ran and there is no bound."""
    return "-" if factor is None else f"{factor:.2f}x"


def show(rows: list[dict], allocator: bool) -> None:
    names, peers = list(rows[0]["dense_ms"]), list(rows[0]["peer_ms"])
    head = ["arithmetic", *(f"{n} ms" for n in [*names, *peers]), "sparse ms", "policy ms"]
    table = Table(*head, "first frames ms", "speed-up", "ideal", "of ideal", "state MB", "RSS MB")
    for row in rows:
        table.add_row(
            f"{row['active']:.1%}", *(f"{row['dense_ms'][n]:.1f}" for n in names),
            *(f"{row['peer_ms'][n]:.1f}" for n in peers),
            f"{row['sparse_ms']:.1f}", f"{row['policy_ms']:.1f}",
            " ".join(f"{ms:.0f}" for ms in row["first_frames_ms"]),
            f"{row['speedup']:.2f}x", times(row["ideal"]), f"{row['frac']:.2f}",
            f"{row['state_mb']:.0f}", f"{row['peak_rss_mb']:.0f}",
        )  # fmt: skip
    console = Console(width=150)
    console.print(table)
    row = rows[-1]
    console.print(
        f"{row['config']}, {row['shape']}, {row['dtype']}, {row['device']}, "
        f"{row['threads']} threads, torch {row['torch']}, freed memory kept: {allocator}; "
        f"largest difference to dense with all "
        f"blocks executed {row['max_abs_difference_all']:.1e}; "
        f"{row['disturbed_samples']} samples were disturbed by other processes"
    )


def main() -> None:
    args = parse_args()
    allocator = keep_freed_memory()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    clock = Clock(args.device, args.retries)
    rows = [measure(args, active, clock) for active in args.active]
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rows if len(rows) > 1 else rows[0], file, indent=1)
    show(rows, allocator)


if __name__ == "__main__":
    main()
