"""Times the backbone of a stock network dense and with DynConv's gates.

    python tools/benchmark_gates.py CONFIG [--shape 800 1344] [--active 0.3] [--tile 8] [--json OUT]

Each gate's threshold is set so that a share of its tiles is open; their places follow from random
weights and noise. The ideal is the dense network's multiply-accumulates over those executed, the
dense ones (stem, shortcuts) and the gates among them.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from common.arguments import check_stock_config, count, output_file, share
from common.models import fused, load_model
from common.provenance import save, without_paths
from mmengine.config import DictAction

import mmdyn
from mmdyn.conversion import DynConvConfig, convert_model, runtime_of
from mmdyn.conversion.dynconv_runtime import gates_of
from mmdyn.conversion.tracking import dense_macs
from mmdyn.engine.memory_format import to_channels_last
from mmdyn.ops.allocator import keep_freed_memory


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a stock mmdet or mmseg config, a path or mmdet::…")
    parser.add_argument("--shape", type=count, nargs=2, default=[800, 1344], metavar="SIDE")
    parser.add_argument("--active", type=share, default=0.3, help="share of the tiles open")
    parser.add_argument("--tile", type=count, default=8, help="side of a tile in pixels")
    parser.add_argument("--gate", default="conv1x1", help="kind of gate")
    parser.add_argument("--repeats", type=count, default=5, help="interleaved samples")
    parser.add_argument("--threads", type=count, default=torch.get_num_threads())
    parser.add_argument("--json", type=output_file, help="file for the results")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args(argv)
    check_stock_config(parser, args.config, args.cfg_options)
    return args


def open_share(active: float):
    """A forward hook of a gate: sets its threshold so that this share of its logits passes."""

    def hook(gate, args, logits):
        keep = max(round(active * logits.numel()), 1)
        gate.threshold.fill_(float(logits.flatten().topk(keep).values[-1]))

    return hook


def macs_of(backbone, image) -> float:
    """Multiply-accumulates of a dense network's convolutions."""
    total = 0.0

    def count(module, args, output):
        nonlocal total
        total += dense_macs(module, args, output)

    hooks = [m.register_forward_hook(count) for m in backbone.modules()
             if isinstance(m, torch.nn.Conv2d)]  # fmt: skip
    backbone(image)
    for hook in hooks:
        hook.remove()
    return total


def sample(call, image) -> float:
    started = time.perf_counter()
    call(image)
    return (time.perf_counter() - started) * 1e3


@torch.no_grad()
def measure(args: argparse.Namespace) -> dict:
    model = load_model(args.config, args.cfg_options)
    model.eval()
    backbone = to_channels_last(model.backbone)
    image = torch.randn(1, 3, *args.shape).contiguous(memory_format=torch.channels_last)
    dense_total = macs_of(backbone, image)
    calls = {"fused": fused(backbone)}
    config = DynConvConfig(budget=0.5, gate=args.gate, tile=args.tile, execution="sparse")
    convert_model(backbone, config, trial=False)
    calls["gated"] = backbone
    hooks = [g.register_forward_hook(open_share(args.active)) for g in gates_of(backbone)]
    backbone(image)
    for hook in hooks:
        hook.remove()
    mmdyn.reset(backbone)
    backbone(image)
    wanted, _, gated = runtime_of(backbone).totals
    executed = dense_total - gated + wanted
    times: dict[str, list[float]] = {"fused": [], "gated": []}
    calls["fused"](image)
    for _ in range(args.repeats):
        for name in times:
            times[name].append(sample(calls[name], image))
    dense_ms, gated_ms = (statistics.median(times[name]) for name in times)
    ideal = dense_total / executed
    return dict(
        config=without_paths(args.config), shape=args.shape, tile=args.tile, gate=args.gate,
        active=args.active,
        dense_ms=dense_ms, gated_ms=gated_ms, speedup=dense_ms / gated_ms, ideal=ideal,
        of_ideal=dense_ms / gated_ms / ideal, dense_gmacs=dense_total / 1e9,
        executed_gmacs=executed / 1e9, executed_share_of_gated=wanted / gated,
        samples_ms=times, threads=torch.get_num_threads(), torch=torch.__version__,
    )  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    kept = keep_freed_memory()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    found = measure(args)
    for name, value in found.items():
        if name != "samples_ms":
            print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
    print(f"freed memory kept: {kept}")
    if args.json:
        save(args.json, found)


if __name__ == "__main__":
    main()
