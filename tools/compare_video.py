"""BlockCopy against what one would do instead, on a config's test clip, frame by frame in turn.

    python tools/compare_video.py CONFIG CHECKPOINT [--budgets 0.7 0.5 0.3] [--skip 2 3] [--half]

CONFIG is a stock (dense) config with a clip as test set. Every frame goes through all variants one
after the other, so that all are timed under the same conditions; each has its own evaluator.
"""

import argparse
import copy
import json
import statistics
import time
from pathlib import Path

import torch
from benchmark_models import fused
from mmengine.config import Config, DictAction
from mmengine.runner import Runner, load_checkpoint
from rich.console import Console
from rich.progress import track
from rich.table import Table

import mmdyn
import mmdyn.compat
from mmdyn.conversion import runtime_of
from mmdyn.ops.allocator import keep_freed_memory


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument("--budgets", type=float, nargs="*", default=[0.5, 0.3])
    parser.add_argument("--policies", nargs="*", default=["reinforce"])
    parser.add_argument("--block-size", type=int, nargs="+", default=[128])
    parser.add_argument("--blockcopy", nargs="*", action=DictAction, default={}, help="KEY=VALUE")
    parser.add_argument("--skip", type=int, nargs="*", default=[2, 3], help="run every k-th frame")
    parser.add_argument("--scales", type=float, nargs="*", default=[0.5], help="smaller images")
    parser.add_argument("--frames", type=int, help="only the first so many")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    return parser.parse_args()


class Dense:
    """The network on every frame."""

    def __init__(self, model) -> None:
        self.model = model
        self.gmacs: list[float] = []
        self.shares: list[float] = []

    def __call__(self, data: dict):
        return self.model.test_step(data)


class Skipping(Dense):
    """The network on every k-th frame; between them the last output is kept."""

    def __init__(self, model, every: int) -> None:
        super().__init__(model)
        self.every, self.seen, self.last = every, 0, None

    def __call__(self, data: dict):
        run = self.seen % self.every == 0
        self.seen += 1
        self.shares.append(float(run))
        if run:
            self.last = self.model.test_step(data)
            return self.last
        samples = [sample.new() for sample in data["data_samples"]]
        for sample, last in zip(samples, self.last):
            for name in ("pred_sem_seg", "seg_logits", "pred_instances"):
                if name in last:
                    setattr(sample, name, getattr(last, name))
        return samples


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


class BlockCopying(Dense):
    """The network converted."""

    def __call__(self, data: dict):
        out = self.model.test_step(data)
        stats = runtime_of(self.model).stats
        self.gmacs.append(stats["gmacs"])
        self.shares.append(stats["executed_share"])
        return out


def build_variants(model, args: argparse.Namespace) -> dict[str, Dense]:
    model = model.to(memory_format=torch.channels_last).eval()
    best = fused(model)
    variants = {"dense": Dense(model), "dense, fused": Dense(best)}
    for every in args.skip:
        variants[f"every {every}th frame"] = Skipping(best, every)
    for scale in args.scales:
        variants[f"scale {scale:g}"] = Scaled(fused(model), scale)
    size = args.block_size[0] if len(args.block_size) == 1 else tuple(args.block_size)
    for policy in args.policies:
        for budget in args.budgets:
            converted = copy.deepcopy(model)
            config = mmdyn.BlockCopyConfig(
                budget=budget,
                policy=policy,
                block_size=size,
                **{"dense_fallback": False, **args.blockcopy},
            )
            torch.manual_seed(0)
            mmdyn.convert_model(converted, config, trial=False)
            variants[f"BlockCopy {budget:g}, {policy}"] = BlockCopying(converted)
    return variants


def gmacs_of(model, data: dict) -> float:
    """Multiply-accumulates of the dense network on this frame, by the same counter."""
    model = copy.deepcopy(model)
    mmdyn.convert_model(model, mmdyn.BlockCopyConfig(policy="all", block_size=32), trial=False)
    model.test_step(data)
    return runtime_of(model).stats["dense_gmacs"]


def build_runner(args: argparse.Namespace) -> Runner:
    mmdyn.compat.prepare()
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.work_dir = f"work_dirs/{Path(args.config).stem}"
    runner = Runner.from_cfg(cfg)
    load_checkpoint(runner.model, args.checkpoint, map_location="cpu")
    return runner


def clone(data: dict) -> dict:
    return dict(
        inputs=[image.clone() for image in data["inputs"]],
        data_samples=[sample.new() for sample in data["data_samples"]],
    )


def run(runner: Runner, variants: dict[str, Dense], frames: int | None) -> list[dict]:
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
            small = {n: v for n, v in variants.items() if isinstance(v, Scaled)}
            for variant in small.values():
                variant.gmacs = [dense_gmacs * variant.scale**2]
            for variant in variants.values():
                if not isinstance(variant, (BlockCopying, Skipping)):
                    with torch.no_grad():
                        variant(clone(data))  # warm-up
        for name, variant in variants.items():
            frame = clone(data)
            started = time.perf_counter()
            with torch.no_grad():
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


def show(rows: list[dict]) -> None:
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


def main() -> None:
    args = parse_args()
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    runner = build_runner(args)
    rows = run(runner, build_variants(runner.model, args), args.frames)
    show(rows)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
