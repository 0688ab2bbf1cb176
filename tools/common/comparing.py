"""What the comparing tools share: variants of a network, and every sample through all in turn."""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import track
from rich.table import Table

from common.arguments import count, count_or_none, output_file, positive
from common.provenance import save
from mmdyn.conversion import runtime_of
from mmdyn.conversion.tracking import counted
from mmdyn.engine.inference import check_checkpoint, load_weights, read_config
from mmdyn.ops.allocator import keep_freed_memory


class Dense:
    """The network on every sample.

    Attributes:
        gmacs, shares: Of the samples so far, where they differ from sample to sample.
        run_gmacs: Of one run of the network on the first sample.
    """

    def __init__(self, model) -> None:
        self.model = model
        self.gmacs: list[float] = []
        self.shares: list[float] = []
        self.run_gmacs = 0.0

    def __call__(self, data: dict):
        return self.model.test_step(data)

    def prepare(self, data: dict) -> None:
        """A run before those that are timed; counts what it multiplies, on the real input."""
        with counted(self.model) as macs:
            self(data)
        self.run_gmacs = sum(macs.values()) / 1e9

    def executed(self) -> tuple[float, float]:
        """Share executed, and GMACs of a sample, over all samples."""
        share = statistics.mean(self.shares) if self.shares else 1.0
        return share, statistics.mean(self.gmacs) if self.gmacs else self.run_gmacs * share


class Scaled(Dense):
    """The network on smaller images; its outputs go back to the original size by its own code."""

    def __init__(self, model, scale: float) -> None:
        super().__init__(model)
        self.scale = scale

    def __call__(self, data: dict):
        images, samples = [], []
        for image, sample in zip(data["inputs"], data["data_samples"]):
            size = [max(32, round(side * self.scale / 32) * 32) for side in image.shape[1:]]
            small = torch.nn.functional.interpolate(
                image[None].float(), size, mode="bilinear", antialias=True
            )[0]
            images.append(small.round().to(image.dtype))
            sample = sample.new()
            width, height = sample.metainfo.get("scale_factor", (1.0, 1.0))[:2]
            factors = (width * size[1] / image.shape[2], height * size[0] / image.shape[1])
            sample.set_metainfo(dict(img_shape=tuple(size), scale_factor=factors))
            samples.append(sample)
        return self.model.test_step(dict(inputs=images, data_samples=samples))


class Converted(Dense):
    """The network converted; it counts itself what it executes.

    Args:
        warm: Run once before it is timed; not for a network that remembers samples.
    """

    def __init__(self, model, warm: bool = False) -> None:
        super().__init__(model)
        self.warm = warm

    def __call__(self, data: dict):
        out = self.model.test_step(data)
        stats = runtime_of(self.model).stats
        self.gmacs.append(stats["gmacs"])
        self.shares.append(stats["executed_share"])
        return out

    def prepare(self, data: dict) -> None:
        if self.warm:
            self(data)
            self.gmacs, self.shares = [], []


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that all comparing tools have."""
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument("--block-size", type=count, nargs="+", default=[128])
    parser.add_argument("--scales", type=positive, nargs="*", default=[0.5], help="smaller images")
    parser.add_argument("--frames", type=count, help="only the first so many; a detector's "
                        "metrics still miss what is on the others")  # fmt: skip
    parser.add_argument("--threads", type=count_or_none, default=0)
    parser.add_argument("--json", type=output_file, help="file for the results")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the tool with a message instead of a traceback where a file is missing or broken."""
    try:
        yield
    except (OSError, ValueError) as error:
        sys.exit(f"tools/{Path(sys.argv[0]).name}: {error}")


def build_runner(args: argparse.Namespace) -> Runner:
    """The config's runner, with the checkpoint loaded; ends the tool if a file is missing."""
    with one_line_errors():
        cfg = read_config(args.config, args.cfg_options)
        for path in (args.checkpoint, getattr(args, "dense", None)):
            if path:
                check_checkpoint(path)
        check_test_set(args.config, cfg)
        if cfg.model.get("host"):
            raise ValueError(
                f"{args.config} has mmdyn's line in it; name the stock config it is made from, "
                "which this tool converts itself."
            )
    cfg.work_dir = f"work_dirs/{Path(args.config.split('::')[-1]).stem}"
    runner = Runner.from_cfg(cfg)
    with one_line_errors():
        load_weights(runner.model, args.checkpoint)
    return runner


def check_test_set(name: str, cfg: Config) -> None:
    """Raises ValueError for a config without a test set and its metrics."""
    absent = [part for part in ("test_dataloader", "test_evaluator") if not cfg.get(part)]
    if absent:
        raise ValueError(f"{name} has no {' and no '.join(absent)}; add it to compare on.")


def block_size(args: argparse.Namespace) -> int | tuple[int, ...]:
    return args.block_size[0] if len(args.block_size) == 1 else tuple(args.block_size)


def clone(data: dict) -> dict:
    return dict(
        inputs=[image.clone() for image in data["inputs"]],
        data_samples=[sample.new() for sample in data["data_samples"]],
    )


@torch.no_grad()
def run(runner: Runner, variants: dict[str, Dense], frames: int | None) -> list[dict]:
    """Every sample of the test set through all variants, each with its own evaluator.

    Ends the tool if the test set is not there.
    """
    evaluators, times = {}, {name: [] for name in variants}
    with one_line_errors():
        loader = runner.build_dataloader(runner.cfg.test_dataloader)
        for name in variants:
            evaluators[name] = runner.build_evaluator(copy.deepcopy(runner.cfg.test_evaluator))
            evaluators[name].dataset_meta = loader.dataset.metainfo
    count = min(frames or len(loader), len(loader))
    images = 0
    for i, data in enumerate(track(loader, total=count, description="frames")):
        if i >= count:
            break
        if i == 0:
            for variant in variants.values():
                variant.prepare(clone(data))
        images += len(data["data_samples"])
        for name, variant in variants.items():
            frame = clone(data)
            started = time.perf_counter()
            outputs = variant(frame)
            times[name].append((time.perf_counter() - started) * 1e3)
            evaluators[name].process(data_samples=outputs, data_batch=data)
    rows = []
    for name, variant in variants.items():
        share, gmacs = variant.executed()
        rows.append(
            dict(
                variant=name, frames=count, executed=share, gmacs=gmacs,
                ms_mean=statistics.mean(times[name]), ms_median=statistics.median(times[name]),
                ms_first=times[name][0], metrics=_plain(evaluators[name].evaluate(images)),
            )
        )  # fmt: skip
    return rows


def _plain(metrics: dict) -> dict:
    """Numbers as Python has them: NumPy's are neither shown nor written as JSON."""
    return {k: v.item() if hasattr(v, "item") else v for k, v in metrics.items()}


def show(rows: list[dict], path: str | None = None) -> None:
    """Prints the rows as a table and writes them to a JSON file if one is named."""
    numbers = {k for row in rows for k, v in row["metrics"].items() if isinstance(v, (int, float))}
    main = sorted(
        k for k in numbers if k.endswith(("mIoU", "person_AP50", "bbox_mAP", "/Reasonable"))
    )
    main = main or sorted(numbers)[:3]
    table = Table("variant", *main, "executed", "GMACs", "ms mean", "ms median")
    for row in rows:
        table.add_row(
            row["variant"], *(f"{row['metrics'].get(k, float('nan')):.4g}" for k in main),
            f"{row['executed']:.1%}", f"{row['gmacs']:.2f}", f"{row['ms_mean']:.1f}",
            f"{row['ms_median']:.1f}",
        )  # fmt: skip
    Console(width=150).print(table)
    if path:
        save(path, dict(rows=rows))


def compare(args: argparse.Namespace, build_variants: Callable) -> None:
    """Builds what `build_variants` makes of the config's model and shows how each fares."""
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    runner = build_runner(args)
    with one_line_errors():
        variants = build_variants(runner.model, args)
    show(run(runner, variants, args.frames), args.json)
