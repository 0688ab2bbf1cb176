"""Times convolutions of windows: oneDNN's, unfolded into matrix products, and compiled here.

    python tools/benchmark_convs.py [--dtype bf16] [--kernel 1] [--shape WINDOWS CIN COUT SIDE ...]
        [--json OUT.json]

SIDE is that of a window's output. "Compiled" is what serves of the compiled ones: by taps or, in
float32, in squares of two by two outputs ("squares": registers of channels; with few of them,
registers of squares may serve). ``mmdyn/ops/conv`` decides by what this shows:
``packed.py`` where the compiled convolutions are there, ``unfolded.py`` where they are not.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import psutil
import torch
from common.arguments import count, output_file
from common.provenance import save
from rich.console import Console
from rich.table import Table

from mmdyn.ops.allocator import keep_freed_memory
from mmdyn.ops.conv.cpu import PackedConv, _run_fused, fused_conv_works
from mmdyn.ops.conv.packed import PackedPanels, halos_pay, squares_pay, tiles_pay, tiles_work
from mmdyn.ops.conv.panels import PANEL, packed_windows
from mmdyn.ops.conv.reference import Epilogue
from mmdyn.ops.conv.unfolded import UnfoldedConv, unfolding_pays

SHAPES = [
    (38, 2560, 512, 8), (38, 1024, 512, 8), (38, 512, 512, 8), (38, 256, 256, 8),
    (38, 256, 256, 16), (21, 256, 256, 6), (21, 512, 512, 5), (38, 512, 512, 4), (60, 512, 512, 2),
]  # fmt: skip
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WAYS = ("oneDNN", "unfolded", "taps", "squares", "compiled")
RELU = Epilogue("relu")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--shape", type=count, nargs=4, action="append", metavar="N", help="in place of the usual"
    )
    parser.add_argument("--kernel", type=int, choices=[1, 3], default=3)
    parser.add_argument("--dtype", choices=list(DTYPES), default="fp32")
    parser.add_argument("--repeats", type=count, default=5)
    parser.add_argument("--threads", type=count, default=psutil.cpu_count(logical=True))
    parser.add_argument("--json", type=output_file, help="file for the results")
    return parser.parse_args(argv)


def median_ms(calls: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Of each call, in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - started) * 1e3)
    return {name: statistics.median(mine) for name, mine in times.items()}


def measure(
    shape: tuple[int, ...], dtype: torch.dtype, repeats: int, kernel: int
) -> tuple[dict[str, float], str]:
    """Milliseconds of oneDNN's, the unfolded and the compiled ones, and which of them serves."""
    n, channels, outputs, side = shape
    weight = torch.randn(outputs, channels, kernel, kernel).mul_(0.01).to(dtype)
    bias, size, one = torch.randn(outputs).to(dtype), (side + kernel - 1,) * 2, (1, 1)
    x = torch.randn(n, channels, *size).to(dtype).to(memory_format=torch.channels_last)
    packed = PackedConv._pack(weight, one, one, 1, x.shape)
    unfolded, panels = UnfoldedConv(weight, bias, one, one, size), PackedPanels(weight, bias)
    calls = {
        "oneDNN": lambda: _run_fused(x, packed, bias, one, one, 1, RELU, None),
        "unfolded": lambda: unfolded(x, RELU, None),
    }
    serves = "unfolded" if unfolding_pays(size, weight, one, one, 1) else "oneDNN"
    if tiles_work(dtype):
        rest = (outputs, (kernel, kernel), panels.bias, one, one, True, None)
        whole = (x, None, None, None, (0, 0, 0, 0))
        calls["taps"] = lambda: packed_windows(*whole, panels.packed(), *rest)
        if squares_pay((side, side), weight, one, one):
            calls["squares"] = lambda: packed_windows(*whole, panels.packed(PANEL), *rest)
        calls["compiled"] = lambda: panels.windows(x, one, one, RELU, None)
        pays = halos_pay(x[:, :, 2:, 2:]) if kernel > 1 else tiles_pay(size, (1, 1))
        serves = "compiled" if pays else serves
    return median_ms(calls, repeats), serves


@torch.no_grad()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    dtype = DTYPES[args.dtype]
    if not fused_conv_works(dtype):
        raise SystemExit(f"oneDNN's fused convolution does not run here in {args.dtype}")
    rows = []
    for shape in args.shape or SHAPES:
        ms, serves = measure(shape, dtype, args.repeats, args.kernel)
        rows.append(dict(shape=shape, ms=ms, serves=serves))
    show(rows, args.kernel)
    if args.json:
        save(
            args.json,
            dict(kernel=args.kernel, dtype=args.dtype, threads=args.threads, rows=rows),
        )


def show(rows: list[dict], kernel: int) -> None:
    heads = [head for way in WAYS for head in (f"{way} ms", "GFLOP/s")]
    table = Table("windows", "in", "out", "side", *heads, "serves")
    for row in rows:
        n, channels, outputs, side = row["shape"]
        flops = 2e-6 * kernel**2 * n * side * side * channels * outputs
        cells: list[str] = []
        for way in WAYS:
            ms = row["ms"].get(way)
            cells += ("-", "-") if ms is None else (f"{ms:.2f}", f"{flops / ms:.0f}")
        table.add_row(*map(str, row["shape"]), *cells, row["serves"])
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
