"""Compiles mmdyn's Triton kernels for an NVIDIA GPU that need not be there.

    python tools/compile_kernels.py [--arch 90] [--dtypes fp16 bf16 fp32] [--kernels NAME ...]

Shows that the kernels compile, down to machine code, and how much shared memory they take; not
that they run.
"""

import argparse
import importlib
import os
import sys

ROOMS = {
    "windows": ("gather_windows_kernel", "write_ring_kernel"),
    "cells": ("copy_rows_kernel",),
    "conv": ("conv_kernel", "depthwise_kernel"),
}
# Flags of a kernel, each compiled by itself; what is not named here is in SIZES.
VARIANTS = {
    "gather_windows_kernel": [dict(FOUR=False), dict(FOUR=True)],
    "write_ring_kernel": [dict(WHOLE=False), dict(WHOLE=True)],
    "copy_rows_kernel": [dict(SCATTER=False), dict(SCATTER=True)],
    "conv_kernel": [
        dict(TABLE=False, ACTIVATION="relu", BIASED=True, ADDED=True),
        dict(TABLE=True, ACTIVATION="swish", BIASED=True, ADDED=False),
        dict(TABLE=False, ACTIVATION="", BIASED=False, ADDED=False, M=64, N=32, K=16),
    ],
    "depthwise_kernel": [
        dict(TABLE=False, ACTIVATION="hardswish", BIASED=True, ADDED=False),
        dict(TABLE=True, ACTIVATION="hardtanh", BIASED=True, ADDED=True),
    ],
}
SIZES = dict(
    PIXELS=16, CHANNELS=256, ROWS=4, LENGTH=1024, PRECISION="tf32", WIDEN=False, M=128, N=128, K=64
)
DTYPES = ["fp16", "bf16", "fp32"]
TABLES = ("index", "rows", "ring")
NUMBERS = ("low", "high")
SHARED_LIMIT = 227 * 1024  # bytes that a thread block may have on sm_90


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", type=int, default=90, help="compute capability (default 90)")
    parser.add_argument("--dtypes", nargs="+", default=DTYPES, choices=DTYPES)
    parser.add_argument("--kernels", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    return parser.parse_args(argv)


def compiled(kernel, variant: dict, dtype: str, arch: int):
    """The kernel with its arguments aligned, as PyTorch's memory and usual channels are."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    known = {**SIZES, **variant}
    signature, constants, aligned = {}, {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in known:
            signature[name], constants[(place,)] = "constexpr", known[name]
        elif name in NUMBERS:
            signature[name] = "fp32"
        elif name in pointers_of(kernel):
            signature[name] = "*i64" if name in TABLES else f"*{dtype}"
            aligned[(place,)] = [["tt.divisibility", 16]]
        else:
            signature[name] = "i32"
            if name in ("cin", "cout", "channels", "length"):
                aligned[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    wide = known["M"] * known["N"] >= 128 * 128 and kernel.fn.__name__ == "conv_kernel"
    options = dict(num_warps=8 if wide else 4)
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)


def pointers_of(kernel) -> set[str]:
    """Names of the arguments that are memory."""
    named = {"blocks", "store", "weight", "bias", "residual", "out", "source", "target", *TABLES}
    return named & set(kernel.arg_names)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    os.environ.pop("TRITON_INTERPRET", None)  # before Triton is imported
    failed = 0
    for room, kernels in ROOMS.items():
        for name in filter(args.kernels.__contains__, kernels):
            kernel = getattr(importlib.import_module(f"mmdyn.ops.{room}.triton_kernel"), name)
            for variant in VARIANTS[name]:
                for dtype in args.dtypes:
                    made = compiled(kernel, variant, dtype, args.arch)
                    good, said = verdict(made)
                    failed += not good
                    print(f"sm_{args.arch} {name} {dtype} {variant}: {said}", flush=True)
    return int(failed > 0)


def verdict(made) -> tuple[bool, str]:
    """Whether a compiled kernel has machine code that fits on the GPU, and what is in it."""
    code = made.asm.get("cubin") or b""
    good = bool(code) and made.metadata.shared <= SHARED_LIMIT
    return good, (
        f"{'ok' if good else 'FAILED'}, {len(code)} bytes of machine code, "
        f"{made.metadata.shared} bytes of shared memory, "
        f"tensor cores: {'mma' in made.asm.get('ptx', '')}"
    )


if __name__ == "__main__":
    sys.exit(main())
