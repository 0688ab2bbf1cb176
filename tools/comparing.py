"""What the comparing tools share: variants of a network, and every sample through all in turn."""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner, load_checkpoint
from rich.console import Console
from rich.progress import track
from rich.table import Table

import mmdyn
import mmdyn.compat
from mmdyn.conversion import runtime_of


class Dense:
    """The network on every sample.

    Attributes:
        gmacs, shares: Of the samples so far, where they differ from the dense network's.
        warm: Run once before it is timed.
    """

    warm = True

    def __init__(self, model) -> None:
        self.model = model
        self.gmacs: list[float] = []
        self.shares: list[float] = []

    def __call__(self, data: dict):
        return self.model.test_step(data)

    def expect(self, dense_gmacs: float) -> None:
        """Told once what the dense network needs for a sample."""


class Scaled(Dense):
    """The network on smaller images; its outputs go back to the original size by its own code."""

    def __init__(self, model, scale: float) -> None:
        super().__init__(model)
        self.scale = scale

    def expect(self, dense_gmacs: float) -> None:
        self.gmacs = [dense_gmacs * self.scale**2]

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
    """The network converted.

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that all comparing tools have."""
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument("--block-size", type=int, nargs="+", default=[128])
    parser.add_argument("--scales", type=float, nargs="*", default=[0.5], help="smaller images")
    parser.add_argument("--frames", type=int, help="only the first so many")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)


def build_runner(args: argparse.Namespace) -> Runner:
    """The config's runner, with the checkpoint loaded."""
    mmdyn.compat.prepare()
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.work_dir = f"work_dirs/{Path(args.config).stem}"
    runner = Runner.from_cfg(cfg)
    load_checkpoint(runner.model, args.checkpoint, map_location="cpu")
    return runner


def block_size(args: argparse.Namespace) -> int | tuple[int, ...]:
    return args.block_size[0] if len(args.block_size) == 1 else tuple(args.block_size)


def gmacs_of(model, data: dict) -> float:
    """Multiply-accumulates of the dense network on this frame, by the same counter."""
    model = copy.deepcopy(model)
    mmdyn.convert_model(model, mmdyn.BlockCopyConfig(policy="all", block_size=32), trial=False)
    model.test_step(data)
    return runtime_of(model).stats["dense_gmacs"]


def clone(data: dict) -> dict:
    return dict(
        inputs=[image.clone() for image in data["inputs"]],
        data_samples=[sample.new() for sample in data["data_samples"]],
    )


@torch.no_grad()
def run(runner: Runner, variants: dict[str, Dense], frames: int | None) -> list[dict]:
    """Every sample of the test set through all variants, each with its own evaluator.

    `variants` holds the stock network as "dense".
    """
    loader = runner.build_dataloader(runner.cfg.test_dataloader)
    count = min(frames or len(loader), len(loader))
    evaluators, times = {}, {name: [] for name in variants}
    for name in variants:
        evaluators[name] = runner.build_evaluator(copy.deepcopy(runner.cfg.test_evaluator))
        evaluators[name].dataset_meta = loader.dataset.metainfo
    dense_gmacs = None
    for i, data in enumerate(track(loader, total=count, description="frames")):
        if i >= count:
            break
        if dense_gmacs is None:
            dense_gmacs = gmacs_of(variants["dense"].model, clone(data))
            for variant in variants.values():
                if variant.warm:
                    variant(clone(data))
                variant.gmacs, variant.shares = [], []
                variant.expect(dense_gmacs)
        for name, variant in variants.items():
            frame = clone(data)
            started = time.perf_counter()
            outputs = variant(frame)
            times[name].append((time.perf_counter() - started) * 1e3)
            evaluators[name].process(data_samples=outputs, data_batch=data)
    rows = []
    for name, variant in variants.items():
        share = statistics.mean(variant.shares) if variant.shares else 1.0
        gmacs = statistics.mean(variant.gmacs) if variant.gmacs else dense_gmacs * share
        rows.append(
            dict(
                variant=name, frames=count, executed=share, gmacs=gmacs,
                ms_mean=statistics.mean(times[name]), ms_median=statistics.median(times[name]),
                ms_first=times[name][0], metrics=_plain(evaluators[name].evaluate(count)),
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
        Path(path).write_text(json.dumps(rows, indent=1))
