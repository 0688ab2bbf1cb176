"""Times 3x3 convolutions of small windows: oneDNN's own, and unfolded into matrix products.

    python tools/benchmark_unfolded.py [--dtype bf16] [--shape WINDOWS CIN COUT SIDE ...]

SIDE is that of a window's output. ``mmdyn/ops/conv/unfolded.py`` decides by what this shows.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import psutil
import torch
from rich.console import Console
from rich.table import Table

from mmdyn.ops.allocator import keep_freed_memory
from mmdyn.ops.conv.cpu import PackedConv, _run_fused, fused_conv_works
from mmdyn.ops.conv.reference import Epilogue
from mmdyn.ops.conv.unfolded import UnfoldedConv, unfolding_pays

SHAPES = [
    (38, 2560, 512, 8), (38, 1024, 512, 8), (38, 512, 512, 8), (38, 256, 256, 8),
    (38, 256, 256, 16), (21, 256, 256, 6), (21, 512, 512, 5), (38, 512, 512, 4), (60, 512, 512, 2),
]  # fmt: skip
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
RELU = Epilogue("relu")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--shape", type=int, nargs=4, action="append", metavar="N", help="in place of the usual"
    )
    parser.add_argument("--dtype", choices=list(DTYPES), default="fp32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=True))
    return parser.parse_args(argv)


def median_ms(call: Callable, repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


def measure(shape: tuple[int, ...], dtype: torch.dtype, repeats: int) -> tuple[float, float, bool]:
    """Milliseconds of oneDNN's convolution and of the unfolded one, and whether that serves."""
    n, channels, outputs, side = shape
    weight = torch.randn(outputs, channels, 3, 3).mul_(0.01).to(dtype)
    bias, size, one = torch.randn(outputs).to(dtype), (side + 2, side + 2), (1, 1)
    x = torch.randn(n, channels, *size).to(dtype).to(memory_format=torch.channels_last)
    packed = PackedConv._pack(weight, one, one, 1, x.shape)
    unfolded = UnfoldedConv(weight, bias, one, one, size)
    return (
        median_ms(lambda: _run_fused(x, packed, bias, one, one, 1, RELU, None), repeats),
        median_ms(lambda: unfolded(x, RELU, None), repeats),
        unfolding_pays(size, weight, one, one, 1),
    )


@torch.no_grad()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    dtype = DTYPES[args.dtype]
    if not fused_conv_works(dtype):
        raise SystemExit(f"oneDNN's fused convolution does not run here in {args.dtype}")
    table = Table("windows", "in", "out", "side", "oneDNN ms", "GFLOP/s", "unfolded ms", "unfolds")
    for shape in args.shape or SHAPES:
        plain, unfolded, pays = measure(shape, dtype, args.repeats)
        n, channels, outputs, side = shape
        flops = 18e-6 * n * side * side * channels * outputs
        table.add_row(
            *map(str, shape), f"{plain:.1f}", f"{flops / plain:.0f}", f"{unfolded:.1f}",
            "yes" if pays else "",
        )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
