"""Times a stock network dense and on blocks, on the clock and against the best dense baseline.

    python tools/benchmark.py CONFIG [--shape 1024 2048] [--active 0.3] [--policy random]
        [--method blockcopy] [--dtype fp32] [--block-size 128] [--json OUT.json]

Baselines: eager channels-last; batch norm folded and weights prepacked; torch.compile with
freezing; on CUDA mmcv's MaskedConv2d is timed beside them. All share threads and allocator. Samples
are interleaved; one taken while other processes used the CPU is taken again. The frames
in which modules are recorded for replay come before the samples and are reported apart, as first
frames. The peak of memory is that of a network alone (eager, channels-last, dense or on blocks) in
a process of its own, libraries and weights included; on CUDA it is what torch allocated there.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace

import psutil
import torch
from common.arguments import check_stock_config, count, count_or_none, output_file, share
from common.blocks import FixedCount, block_size, config_of, first_output, streams_of
from common.clock import Clock
from common.masked import MaskedCore
from common.models import baselines, dense_core, load_model, moving_frames
from common.peak import WARM, ChildFailed, in_child, peak_of
from common.provenance import save, without_paths
from mmengine.config import DictAction
from rich.console import Console
from rich.table import Table

import mmdyn
from mmdyn.conversion import runtime_of
from mmdyn.conversion.padding import pad_to_blocks
from mmdyn.engine.memory_format import to_channels_last
from mmdyn.ops.allocator import keep_freed_memory

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BASELINES = ("eager", "fused", "compile")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("config", help="a stock mmdet or mmseg config, a path or mmdet::…")
    add("--shape", type=count, nargs="+", default=[1024, 2048], help="H W or N C H W")
    add(
        "--active",
        type=share,
        nargs="+",
        default=[0.3],
        help="shares executed, or at full resolution",
    )
    add("--block-size", nargs="+", default=["128"], help="side, height width, or auto")
    add("--method", choices=["blockcopy", "segblocks"], default="blockcopy")
    add("--policy", help="name of a policy (default random, and reinforce for SegBlocks)")
    add("--dtype", choices=list(DTYPES), default="fp32")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--threads", type=count, default=psutil.cpu_count(logical=True))
    add("--repeats", type=count, default=5, help="interleaved samples (default 5)")
    add(
        "--warm-up",
        type=count_or_none,
        default=6,
        help="frames after the first, before samples (default 6)",
    )
    add("--skip", nargs="*", default=[], choices=BASELINES, help="baselines to leave out")
    add("--retries", type=count_or_none, default=5, help="times a disturbed sample is retaken")
    add("--no-memory", action="store_true", help="leave out the peaks of memory, which take time")
    add("--json", type=output_file, help="file for the results")
    add("--cfg-options", nargs="+", action=DictAction, default={})
    add("--peak-of", help=argparse.SUPPRESS)  # a child's network
    args = parser.parse_args(argv)
    args.policy = args.policy or ("random" if args.method == "blockcopy" else "reinforce")
    if len(args.shape) not in (2, 4):
        parser.error(f"--shape takes H W or N C H W, got {args.shape}")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {args.device}: torch finds no GPU here")
    if not set(BASELINES) - set(args.skip):
        parser.error("--skip leaves no dense baseline to compare with")
    try:
        args.size = block_size(args.block_size)
        config_of(args, args.active[0], args.size)
    except ValueError as error:
        parser.error(str(error))
    check_stock_config(parser, args.config, args.cfg_options)
    return args


def network(args: argparse.Namespace) -> tuple[torch.nn.Module, list[torch.Tensor]]:
    """The dense network, channels-last, and its frames."""
    dtype, device = DTYPES[args.dtype], args.device
    core = dense_core(load_model(args.config, args.cfg_options)).to(device, dtype)
    shape = args.shape if len(args.shape) == 4 else [1, 3, *args.shape]
    return to_channels_last(core).eval(), moving_frames(shape, dtype, device)


def measure(args: argparse.Namespace, active: float, clock: Clock) -> dict:
    """One row: dense and sparse, interleaved."""
    core, frames = network(args)
    dense = baselines(core, frames[0], args.skip)
    peers = peers_of(core, args, active, args.size)
    config, disturbed = config_of(args, active, args.size), clock.disturbed
    wanted = dense_output(core, frames[0], config)
    started = time.perf_counter()
    mmdyn.convert_model(core, config, trial=False)
    conversion_ms = (time.perf_counter() - started) * 1e3
    difference, first_ms = all_full(core, wanted, frames[0])
    for state in streams_of(core):
        state.controller = FixedCount(active)
    first_frames = [first_ms]
    with torch.no_grad():
        for call in [*dense.values(), *peers.values()]:
            call(frames[0])
        for i in range(args.warm_up):
            core(frames[i % len(frames)])
            first_frames.append(runtime_of(core).stats["ms"])
        times, policy_ms, executed = sample(args, core, {**dense, **peers}, frames, clock)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    dense_ms, sparse_ms = {name: medians[name] for name in dense}, medians["sparse"]
    speedup, stats = min(dense_ms.values()) / sparse_ms, runtime_of(core).stats
    return dict(
        active=executed, dense_ms=dense_ms, peer_ms={name: medians[name] for name in peers},
        sparse_ms=sparse_ms, policy_ms=policy_ms,
        speedup=speedup, ideal=1 / executed if executed else None, frac=speedup * executed,
        first_frame_ms=first_ms, first_frames_ms=first_frames, conversion_ms=conversion_ms,
        state_mb=stats.get("state_mb", 0.0), method=args.method,
        full_share=stats["executed_share"], peak_rss_mb=None, recording_rss_mb=None,
        max_abs_difference_all=difference,
        max_rel_difference_all=difference / (float(wanted.abs().max()) or 1.0),
        gmacs=stats["gmacs"], dense_gmacs=stats["dense_gmacs"], samples_ms=times,
        config=without_paths(args.config), shape=list(frames[0].shape), block_size=args.size,
        policy=args.policy, dtype=args.dtype, device=args.device,
        threads=torch.get_num_threads(), disturbed_samples=clock.disturbed - disturbed,
        torch=torch.__version__,
    )  # fmt: skip


def sample(args, core, others: dict, frames: list, clock: Clock) -> tuple[dict, float, float]:
    """Milliseconds of each network in turn, the policy's on average, and the share executed.

    A policy that learns online does so in every second frame, which a median would not show.
    """
    times: dict[str, list[float]] = {name: [] for name in [*others, "sparse"]}
    policy, shares = [], []
    for repeat in range(args.repeats):
        frame = frames[repeat % len(frames)]
        for name, call in {**others, "sparse": core}.items():
            times[name].append(clock.sample(lambda c=call, f=frame: c(f)))
        stats = runtime_of(core).stats
        policy.append(stats["policy_ms"])
        shares.append(stats.get("arithmetic_share", stats["executed_share"]))
    return times, statistics.mean(policy[len(policy) % 2 :] or policy), statistics.mean(shares)


def peers_of(core, args: argparse.Namespace, active: float, size) -> dict[str, MaskedCore]:
    """What else skips pixels: mmcv's MaskedConv2d, which runs on CUDA, a batch of one image."""
    one_image = len(args.shape) == 2 or args.shape[0] == 1
    if args.device != "cuda" or not one_image or args.method != "blockcopy" or size == "auto":
        return {}
    sides = (size, size) if isinstance(size, int) else size
    return {"masked": MaskedCore(core, active, sides)}


@torch.no_grad()
def dense_output(core, frame: torch.Tensor, config) -> torch.Tensor:
    """Of the dense network on what blocks see: the frame padded to whole blocks."""
    return first_output(core(pad_to_blocks(frame, config)[0]))


@torch.no_grad()
def all_full(core, wanted: torch.Tensor, frame: torch.Tensor) -> tuple[float, float]:
    """Largest difference to a dense output with every block at full resolution, and its time."""
    runtime = runtime_of(core)
    config = runtime.config
    if isinstance(config, mmdyn.SegBlocksConfig):
        runtime.config = replace(config, budget=1.0)
    got = first_output(core(frame))  # a stream's first frame runs all of its blocks
    runtime.config = config
    wanted = wanted[..., : got.shape[-2], : got.shape[-1]]  # of the frame, without its padding
    return float((got - wanted).abs().max()), runtime.stats["ms"]


@torch.no_grad()
def peaks(args: argparse.Namespace, active: float | None) -> tuple[float, float]:
    """MiB at the peak of frames once modules are recorded, and until then; None runs dense."""
    core, frames = network(args)
    if active is not None:
        mmdyn.convert_model(core, config_of(args, active, args.size), trial=False)

    def peak(i: int) -> float:
        return peak_of(lambda: core(frames[i % len(frames)]), args.device)[1]

    recording = [peak(0)]
    for state in [] if active is None else streams_of(core):
        state.controller = FixedCount(active)
    recording += [peak(i) for i in range(WARM)]
    return max(peak(i) for i in range(len(frames))), max(recording)


def add_peaks(found: dict, active: list[float], words: list[str]) -> None:
    """The peak of each row's network and of the dense one, or why there is none."""
    places = [(found, "dense_", None), *((row, "", a) for row, a in zip(found["rows"], active))]
    for place, prefix, one in places:
        try:
            peak, recording = in_child(__file__, [*words, f"--peak-of={json.dumps(one)}"])
        except ChildFailed as error:
            place[f"{prefix}memory_error"] = str(error)
        else:
            place.update({f"{prefix}peak_rss_mb": peak, f"{prefix}recording_rss_mb": recording})


def factor(times: float | None) -> str:
    """A speed-up; '-' where nothing ran and there is no bound."""
    return "-" if times is None else f"{times:.2f}x"


def mib(size: float | None) -> str:
    return "-" if size is None else f"{size:.0f}"


def show(found: dict, allocator: bool) -> None:
    rows = found["rows"]
    names, peers = list(rows[0]["dense_ms"]), list(rows[0]["peer_ms"])
    head = ["arithmetic", *(f"{n} ms" for n in [*names, *peers]), "sparse ms", "policy ms"]
    head += ["first frames ms", "speed-up", "ideal", "of ideal"]
    table = Table(*head, "state MiB", "peak MiB", "while recording MiB")
    for row in rows:
        table.add_row(
            f"{row['active']:.1%}", *(f"{row['dense_ms'][n]:.1f}" for n in names),
            *(f"{row['peer_ms'][n]:.1f}" for n in peers),
            f"{row['sparse_ms']:.1f}", f"{row['policy_ms']:.1f}",
            " ".join(f"{ms:.0f}" for ms in row["first_frames_ms"]),
            f"{row['speedup']:.2f}x", factor(row["ideal"]), f"{row['frac']:.2f}",
            *(mib(row[key]) for key in ("state_mb", "peak_rss_mb", "recording_rss_mb")),
        )  # fmt: skip
    console = Console(width=150)
    console.print(table)
    row = rows[-1]
    console.print(
        f"{row['config']}, {row['shape']}, {row['dtype']}, {row['device']}, "
        f"{row['threads']} threads, torch {row['torch']}, freed memory kept: {allocator}; "
        f"largest difference to dense with all blocks executed "
        f"{row['max_abs_difference_all']:.1e}, of the largest value "
        f"{row['max_rel_difference_all']:.1e}; "
        f"{sum(r['disturbed_samples'] for r in rows)} samples were disturbed by other processes"
    )
    if found["dense_peak_rss_mb"] is not None:
        console.print(f"peak of the dense network alone {mib(found['dense_peak_rss_mb'])} MiB")
    failed = [("dense", found.get("dense_memory_error"))]
    failed += [(f"{row['active']:.1%}", row.get("memory_error")) for row in rows]
    for name, reason in failed:
        if reason:
            console.print(f"no peak of memory, {name}: {reason}", markup=False)


def main(argv: list[str] | None = None) -> None:
    words = sys.argv[1:] if argv is None else argv
    args = parse_args(words)
    allocator = keep_freed_memory()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    if args.peak_of:
        print(json.dumps(peaks(args, json.loads(args.peak_of))))
        return
    clock = Clock(args.device, args.retries)
    found: dict = dict(dense_peak_rss_mb=None, dense_recording_rss_mb=None)
    found["rows"] = [measure(args, active, clock) for active in args.active]
    try:
        if not args.no_memory:
            add_peaks(found, args.active, words)
    finally:  # whatever fails, or is interrupted, what was measured is shown and kept
        try:
            show(found, allocator)
        finally:
            if args.json:
                save(args.json, found)


if __name__ == "__main__":
    main()
