"""Gated networks beside their dense one on a test set, each batch through all in turn.

    python tools/compare_gates.py CONFIG CHECKPOINT [CONFIG CHECKPOINT ...] [--batch 16]

The first pair is the dense network and names the test set; the others are mmdyn.DynConv's. Times
are those of the whole `test_step`, medians over batches, two runs before them in which blocks are
timed. The share executed is that of the gated blocks; GMACs are those of an image.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from common.arguments import count, count_or_none, output_file
from common.comparing import Dense, check_test_set, clone, one_line_errors, run
from common.provenance import save
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table

from mmdyn.conversion import is_converted, runtime_of
from mmdyn.conversion.dynconv_runtime import DynConvRuntime
from mmdyn.engine.inference import build_model, check_checkpoint, load_weights, read_config
from mmdyn.engine.memory_format import to_channels_last
from mmdyn.ops.allocator import keep_freed_memory


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="CONFIG CHECKPOINT")
    parser.add_argument("--batch", type=count, help="images of a batch; default: the config's")
    parser.add_argument("--batches", type=count, help="only the first so many")
    parser.add_argument("--threads", type=count_or_none, default=0)
    parser.add_argument("--metric", help="shown; default: the first that ends in mean or top1")
    parser.add_argument("--json", type=output_file, help="file for the results")
    args = parser.parse_args(argv)
    if len(args.pairs) % 2:
        parser.error("give a checkpoint after each config")
    return args


class Gated(Dense):
    """A gated network, whose runtime counts what it executes.

    Args:
        model: Converted, with its weights.
        dense: The network without gates.
    """

    def __init__(self, model, dense: Dense) -> None:
        super().__init__(model)
        self.dense, self.gateable = dense, 0.0

    def prepare(self, data: dict) -> None:
        for _ in range(2):
            runtime_of(self.model).reset()
            self(clone(data))
        self.gateable = runtime_of(self.model).stats["dense_gmacs"]
        runtime_of(self.model).reset()

    def executed(self) -> tuple[float, float]:
        share = runtime_of(self.model).stats["executed_share"]
        return share, self.dense.run_gmacs - (1.0 - share) * self.gateable


def labels_of(pairs: list[tuple[str, str]]) -> list[str]:
    """The configs' names; where two pairs have one, the checkpoints' names with them.

    Raises:
        ValueError: If that does not tell all pairs apart.
    """
    names = [Path(config).stem for config, _ in pairs]
    labels = [
        name if names.count(name) == 1 else f"{name} ({Path(checkpoint).stem})"
        for name, (_, checkpoint) in zip(names, pairs)
    ]
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise ValueError(f"name each network once, got {', '.join(sorted(twice))} again")
    return labels


def build(args: argparse.Namespace) -> tuple[Runner, dict[str, Dense]]:
    """The first config's runner, and a variant a pair."""
    pairs = list(zip(args.pairs[::2], args.pairs[1::2]))
    with one_line_errors():
        configs = [(name, read_config(name), check_checkpoint(path)) for name, path in pairs]
        cfg = configs[0][1]
        check_test_set(pairs[0][0], cfg)
        if args.batch:
            cfg.test_dataloader.batch_size = args.batch
        cfg.work_dir = f"work_dirs/{Path(pairs[0][0]).stem}"
        runner = Runner.from_cfg(cfg)
        load_weights(runner.model, configs[0][2])
        first = Dense(to_channels_last(runner.model).eval())
        labels = labels_of(pairs)
        variants: dict[str, Dense] = {labels[0]: first}
        for label, (name, config, path) in zip(labels[1:], configs[1:]):
            model = to_channels_last(build_model(config, path)).eval()
            if not is_converted(model) or not isinstance(runtime_of(model), DynConvRuntime):
                raise ValueError(f"{name} has no gates; the pairs after the first are DynConv's")
            variants[label] = Gated(model, first)
    return runner, variants


def show(rows: list[dict], metric: str | None) -> None:
    names = [k for k, v in rows[0]["metrics"].items() if isinstance(v, (int, float))]
    metric = metric or next((k for k in names if k.endswith(("mean", "top1"))), names[0])
    if metric not in names:
        sys.exit(f"tools/compare_gates.py: --metric {metric} is none of {', '.join(names)}")
    table = Table("network", metric, "executed", "GMACs", "ms an image", "images/s", "speed-up")
    for row in rows:
        table.add_row(
            row["variant"], f"{row['metrics'][metric]:.2f}", f"{row['executed']:.1%}",
            f"{row['gmacs']:.3f}", f"{row['ms_image']:.2f}", f"{1e3 / row['ms_image']:.1f}",
            f"{rows[0]['ms_image'] / row['ms_image']:.2f}",
        )  # fmt: skip
    Console(width=150).print(table)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    runner, variants = build(args)
    rows = run(runner, variants, args.batches)
    images = runner.cfg.test_dataloader.batch_size
    for row in rows:
        row["ms_image"] = row["ms_median"] / images
        row["gmacs"] /= images
    if args.json:
        save(args.json, dict(rows=rows))
    show(rows, args.metric)


if __name__ == "__main__":
    main()
