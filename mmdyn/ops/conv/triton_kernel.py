"""Convolution over a list of blocks on a GPU, as a matrix product whose rows are never gathered.

Each tap of each output pixel is read where it lies: in its block, or in the ring store. Inputs
are float32 (multiplied as TF32 where cuDNN may), float16 or bfloat16; sums and the epilogue are
float32.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmdyn.ops.windows.triton_kernel import channels_last, halo_rank

_TUNE = "MMDYN_TRITON_TUNE"


@triton.jit
def tap_pointers(
    blocks, store, index, pixel, live, tap,
    taps, kernel_width, out_height, out_width, stride_y, stride_x, dilation_y, dilation_x,
    halo_count, bh, bw, top, bottom, left, right, channels, TABLE: tl.constexpr,
):  # fmt: skip
    """Where the first channel lies that a kernel tap reads for each output pixel."""
    if TABLE:
        row = tl.load(index + pixel * taps + tap, mask=live, other=0)
        pointers = store + row * channels
    else:
        n, rest = pixel // (out_height * out_width), pixel % (out_height * out_width)
        y = rest // out_width * stride_y + tap // kernel_width * dilation_y
        x = rest % out_width * stride_x + tap % kernel_width * dilation_x
        inside = (y >= top) & (y < top + bh) & (x >= left) & (x < left + bw)
        entry = n * halo_count + halo_rank(y, x, bh, bw, top, bottom, left, right)
        row = tl.load(index + entry, mask=live & (inside == 0), other=0)
        mine = ((n * bh + y - top) * bw + x - left) * channels
        pointers = tl.where(inside, blocks + mine, store + row * channels)
    return pointers


@triton.jit
def activated(x, low, high, ACTIVATION: tl.constexpr):
    """The activation of float32 numbers; NaN stays NaN."""
    if ACTIVATION == "relu":
        x = tl.where(x < 0.0, 0.0, x)
    elif ACTIVATION == "leaky_relu":
        x = tl.where(x < 0.0, x * low, x)
    elif ACTIVATION == "hardtanh":
        x = tl.where(x < low, low, tl.where(x > high, high, x))
    elif ACTIVATION == "swish":
        x = x / (1.0 + tl.exp(-x))
    elif ACTIVATION == "sigmoid":
        x = 1.0 / (1.0 + tl.exp(-x))
    elif ACTIVATION == "hardswish":
        gate = x + 3.0
        x = x * tl.where(gate < 0.0, 0.0, tl.where(gate > 6.0, 6.0, gate)) / 6.0
    return x


@triton.jit
def store_result(
    out, total, bias, residual, pixel, live, column, columns, low, high,
    ACTIVATION: tl.constexpr, BIASED: tl.constexpr, ADDED: tl.constexpr,
):  # fmt: skip
    """Bias, residual and activation; then the tile is stored in rows of `columns` numbers."""
    mask = live[:, None] & (column < columns)[None, :]
    at = pixel[:, None] * columns + column[None, :]
    if BIASED:
        total += tl.load(bias + column, mask=column < columns, other=0).to(tl.float32)[None, :]
    if ADDED:
        total += tl.load(residual + at, mask=mask, other=0).to(tl.float32)
    total = activated(total, low, high, ACTIVATION)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def conv_kernel(
    blocks, store, index, weight, bias, residual, out, bucket,
    pixels, cin, cout, groups, taps, kernel_width, out_height, out_width,
    stride_y, stride_x, dilation_y, dilation_x, halo_count, bh, bw, top, bottom, left, right,
    low, high,
    TABLE: tl.constexpr, ACTIVATION: tl.constexpr, BIASED: tl.constexpr, ADDED: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """One tile: M output pixels by N output channels of one group, over all taps and channels.

    `cin` and `cout` are a group's; `bucket` only names the size for the tuner. WIDEN: multiply in
    float32, for Triton's interpreter, whose product knows no bfloat16.
    """
    group = tl.program_id(2).to(tl.int64)
    pixel = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)  # (M,)
    column = tl.program_id(1).to(tl.int64) * N + tl.arange(0, N)  # (N,)
    live = pixel < pixels
    channels, columns = cin * groups, cout * groups
    ours = column < cout
    column = tl.where(ours, group * cout + column, columns)
    total = tl.full((M, N), 0.0, tl.float32)
    for tap in range(taps):
        pointers = tap_pointers(
            blocks, store, index, pixel, live, tap,
            taps, kernel_width, out_height, out_width, stride_y, stride_x, dilation_y, dilation_x,
            halo_count, bh, bw, top, bottom, left, right, channels, TABLE,
        )  # (M,) # fmt: skip
        for first in range(0, cin, K):
            channel = first + tl.arange(0, K).to(tl.int64)  # (K,)
            part = channel < cin
            a = tl.load(
                pointers[:, None] + (group * cin + channel)[None, :],
                mask=live[:, None] & part[None, :], other=0,
            )  # (M, K) # fmt: skip
            b = tl.load(
                weight + (tap * cin + channel)[:, None] * columns + column[None, :],
                mask=part[:, None] & ours[None, :], other=0,
            )  # (K, N) # fmt: skip
            if WIDEN:
                a, b = a.to(tl.float32), b.to(tl.float32)
            total = tl.dot(a, b, total, input_precision=PRECISION)
    store_result(
        out, total, bias, residual, pixel, live, column, columns, low, high,
        ACTIVATION, BIASED, ADDED,
    )  # fmt: skip


@triton.jit
def depthwise_kernel(
    blocks, store, index, weight, bias, residual, out,
    pixels, channels, taps, kernel_width, out_height, out_width,
    stride_y, stride_x, dilation_y, dilation_x, halo_count, bh, bw, top, bottom, left, right,
    low, high,
    TABLE: tl.constexpr, ACTIVATION: tl.constexpr, BIASED: tl.constexpr, ADDED: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """One tile: M output pixels by N channels, each with a kernel of its own."""
    pixel = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)  # (M,)
    column = tl.program_id(1).to(tl.int64) * N + tl.arange(0, N)  # (N,)
    live, ours = pixel < pixels, column < channels
    total = tl.full((M, N), 0.0, tl.float32)
    for tap in range(taps):
        pointers = tap_pointers(
            blocks, store, index, pixel, live, tap,
            taps, kernel_width, out_height, out_width, stride_y, stride_x, dilation_y, dilation_x,
            halo_count, bh, bw, top, bottom, left, right, channels, TABLE,
        )  # (M,) # fmt: skip
        mask = live[:, None] & ours[None, :]
        a = tl.load(pointers[:, None] + column[None, :], mask=mask, other=0)  # (M, N)
        b = tl.load(weight + tap * channels + column, mask=ours, other=0)  # (N,)
        total += a.to(tl.float32) * b.to(tl.float32)[None, :]
    store_result(
        out, total, bias, residual, pixel, live, column, channels, low, high,
        ACTIVATION, BIASED, ADDED,
    )  # fmt: skip


def _configs() -> list[triton.Config]:
    tiles = [(128, 128, 32, 8), (128, 64, 64, 4), (64, 128, 64, 4), (64, 64, 64, 4),
             (64, 32, 64, 4), (32, 64, 64, 4), (32, 32, 64, 2), (128, 256, 32, 8)]  # fmt: skip
    return [
        triton.Config(dict(M=m, N=n, K=k), num_warps=warps, num_stages=stages)
        for m, n, k, warps in tiles
        for stages in (3, 4)
    ]


# The same kernel with its tile chosen by trying: minutes at the first frames of a network.
tuned_conv_kernel = triton.autotune(
    _configs(), key=["bucket", "cin", "cout", "taps", "TABLE"], cache_results=True
)(conv_kernel)


def tile_of(pixels: int, cin: int, cout: int, nbytes: int) -> dict[str, int]:
    """A tile without trying: small ones where few pixels would leave a GPU's processors idle."""
    n = min(max(triton.next_power_of_2(cout), 16), 128)
    k = min(max(triton.next_power_of_2(cin), 16), 128 // nbytes)
    m = 128 if pixels * cout > 128 * 128 * 256 else 64
    return dict(M=m, N=n, K=k, num_warps=8 if m * n >= 128 * 128 else 4)


def _epilogue(activation: str, scalars: Sequence[float], bias, residual) -> dict:
    low, high = (*scalars, 0.0, 0.0)[:2]
    return dict(
        low=float(low), high=float(high), ACTIVATION=activation, BIASED=bias is not None,
        ADDED=residual is not None,
    )  # fmt: skip


def _launch(blocks, store, index, weight, bias, residual, out, groups: int, **rest) -> None:
    """Runs the kernel that fits the groups; `weight` is (taps, cin of a group, cout)."""
    pixels, columns = out.shape
    taps, cin, _ = weight.shape
    absent = out  # stands for what is not read
    pointers = (
        blocks, store, index, weight, absent if bias is None else bias,
        absent if residual is None else residual, out,
    )  # fmt: skip
    if not out.numel():
        return
    with torch.cuda.device_of(out):
        if cin == 1 and groups == columns:
            grid = triton.cdiv(pixels, 64), triton.cdiv(columns, 64)
            depthwise_kernel[grid](*pointers, pixels, columns, taps, **rest, M=64, N=64)
            return
        cout = columns // groups
        exact = out.dtype == torch.float32 and not torch.backends.cudnn.allow_tf32
        rest["PRECISION"] = "ieee" if exact else "tf32"
        rest["WIDEN"] = out.device.type == "cpu"
        sizes = (triton.next_power_of_2(pixels), pixels, cin, cout, groups, taps)

        def grid_of(tile: dict) -> tuple[int, int, int]:
            return triton.cdiv(pixels, tile["M"]), triton.cdiv(cout, tile["N"]), groups

        if os.environ.get(_TUNE, "0") == "1":
            tuned_conv_kernel[grid_of](*pointers, *sizes, **rest)
        else:
            tile = tile_of(pixels, cin, cout, out.element_size())
            conv_kernel[grid_of(tile)](*pointers, *sizes, **rest, **tile)


def conv_windows(
    blocks: Tensor, store: Tensor, index: Tensor, places: Tensor, halo: Sequence[int],
    weight: Tensor, bias: Tensor | None, stride: Sequence[int], dilation: Sequence[int],
    groups: int, activation: str, scalars: Sequence[float], residual: Tensor | None,
) -> Tensor:  # fmt: skip
    """See ``reference.conv_windows``."""
    n, channels, bh, bw = blocks.shape
    kh, kw, cin, columns = weight.shape
    top, bottom, left, right = halo
    oh = (top + bh + bottom - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (left + bw + right - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    out = blocks.new_empty((n, oh, ow, columns))
    _launch(
        channels_last(blocks), store.contiguous(), index.contiguous(),
        weight.reshape(kh * kw, cin, columns).contiguous(), bias,
        None if residual is None else channels_last(residual), out.view(-1, columns), groups,
        kernel_width=kw, out_height=oh, out_width=ow,
        stride_y=stride[0], stride_x=stride[1], dilation_y=dilation[0], dilation_x=dilation[1],
        halo_count=index.shape[1], bh=bh, bw=bw, top=top, bottom=bottom, left=left, right=right,
        TABLE=False, **_epilogue(activation, scalars, bias, residual),
    )  # fmt: skip
    return out.permute(0, 3, 1, 2)


def conv_taps(
    store: Tensor, index: Tensor, weight: Tensor, bias: Tensor | None, depthwise: bool,
    activation: str, scalars: Sequence[float], residual: Tensor | None,
) -> Tensor:  # fmt: skip
    """See ``reference.conv_taps``."""
    weight = weight[:, None] if depthwise else weight
    out = store.new_empty((index.shape[0], weight.shape[2]))
    unused = dict.fromkeys(
        ("kernel_width", "out_height", "out_width", "stride_y", "stride_x", "dilation_y",
         "dilation_x", "halo_count", "bh", "bw", "top", "bottom", "left", "right"), 1,
    )  # fmt: skip
    _launch(
        store, store.contiguous(), index.contiguous(), weight.contiguous(), bias,
        None if residual is None else residual.contiguous(), out,
        weight.shape[2] if depthwise else 1,
        TABLE=True, **unused, **_epilogue(activation, scalars, bias, residual),
    )  # fmt: skip
    return out


def example_of_conv_windows(device: torch.device, dtype: torch.dtype) -> tuple:
    """Two blocks of 2x3 pixels, 5 to 4 channels, a 3x3 kernel, everything in the epilogue."""
    blocks = (torch.arange(60, device=device).view(2, 5, 2, 3) % 7).to(dtype)
    store = (torch.arange(40, device=device).view(8, 5) % 5).to(dtype)
    index = torch.arange(28, device=device).view(2, 14) % 8
    places = torch.tensor([0, 1, 2, 3, 4, 5, 9, 10, 14, 15, 16, 17, 18, 19], device=device)
    weight = (torch.arange(180, device=device).view(3, 3, 5, 4) % 3 - 1).to(dtype)
    other = (torch.arange(48, device=device).view(2, 4, 2, 3) % 5).to(dtype)
    return (
        blocks, store, index, torch.cat([places, places + 20]), [1, 1, 1, 1],
        weight, weight[0, 0, 0], [1, 1], [1, 1], 1, "relu", [], other,
    )  # fmt: skip


def example_of_conv_taps(device: torch.device, dtype: torch.dtype) -> tuple:
    """Six rows of 5 channels under four taps, to 4 channels."""
    store = (torch.arange(40, device=device).view(8, 5) % 5).to(dtype)
    index = torch.arange(24, device=device).view(6, 4) % 7
    weight = (torch.arange(80, device=device).view(4, 5, 4) % 3 - 1).to(dtype)
    return store, index, weight, weight[0, 0], False, "relu", [], None
