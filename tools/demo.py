"""The main job on generated data: train a small stock network, run it dense and with BlockCopy.

    python tools/demo.py --out work_dirs/demo

Paints street clips, trains a narrow DeepLabV3+ of mmseg on single frames of them, and runs it on a
clip that it has not seen: dense, and with BlockCopy at two budgets. Prints a table; writes
demo.mp4, demo.png and demo.json. Needs neither a GPU nor a network.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from common.comparing import one_line_errors
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

import mmdyn
from mmdyn.conversion import runtime_of
from mmdyn.datasets.street_layouts import StreetDataset
from mmdyn.engine.inference import build_model, read_config
from mmdyn.engine.memory_format import to_channels_last
from mmdyn.ops.allocator import keep_freed_memory
from mmdyn.visualization import FilmWriter, add_panel, add_title, compose_sheet, draw_frame
from mmdyn.visualization.hooks import executed_cells

CONFIG = Path(__file__).parents[1] / (
    "configs/blockcopy/deeplabv3plus_r18-half_1xb4-240_street-384x768.py"
)
TRAIN_SEED, TEST_SEED = 100, 7


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("work_dirs/demo"))
    parser.add_argument("--budgets", type=float, nargs="+", default=(0.5, 0.3))
    parser.add_argument("--policy", default="reinforce")
    parser.add_argument("--size", type=int, nargs=2, default=(384, 768), metavar=("H", "W"))
    parser.add_argument("--block-size", type=int, default=64, help="pixels")
    parser.add_argument("--stills", type=int, default=48, help="frames to train on, one a clip")
    parser.add_argument("--frames", type=int, default=30, help="frames of the clip to test on")
    parser.add_argument("--iters", type=int, help="training steps; default: the config's")
    parser.add_argument("--checkpoint", help="use these weights instead of training")
    return parser.parse_args(arguments)


def paint(args: argparse.Namespace) -> Path:
    """Makes the frames to train on and the clip to test on, unless they are there."""
    root = args.out / f"street-{args.size[0]}x{args.size[1]}"
    jobs = os.cpu_count() or 1
    common = dict(root=str(root), size=tuple(args.size))
    stills = StreetDataset(split="train", labelled=(15,), stills=True, **common)
    clip = StreetDataset(
        split="val", frames=args.frames, cameras=("moving",), labelled=None, **common
    )
    plans = [(clip, [TEST_SEED])]
    if not args.checkpoint:
        plans.append((stills, range(TRAIN_SEED, TRAIN_SEED + args.stills)))
    for plan, seeds in plans:
        done = root / f"{plan.split}-{len(seeds)}x{plan.frames}.done"
        if not done.exists():
            plan.write(seeds, jobs, lambda it, n: tqdm(it, total=n, unit="clip", desc="painting"))
            done.touch()
    return root


def config_for(args: argparse.Namespace, root: Path) -> Config:
    """The demo's config, for these sizes and this folder."""
    cfg = read_config(CONFIG)
    cfg.work_dir = str(args.out / "train")
    cfg.log_level = "WARNING"
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(root)
    cfg.test_dataloader.dataset.clip_length = args.frames
    crop = tuple(min(a, b) for a, b in zip(cfg.crop_size, args.size, strict=True))
    cfg.model.data_preprocessor.size = crop
    for step in cfg.train_dataloader.dataset.pipeline:
        if step["type"] == "RandomCrop":
            step["crop_size"] = crop
        if step["type"] == "RandomResize":
            step["scale"] = (args.size[1], args.size[0])
    if args.iters:
        cfg.train_cfg.max_iters = args.iters
        cfg.param_scheduler = [dict(type="PolyLR", eta_min=1e-5, end=args.iters, by_epoch=False)]
    cfg.default_hooks.checkpoint.interval = cfg.train_cfg.max_iters
    for name in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg[name] = None
    return cfg


class ProgressHook(Hook):
    """A progress bar of training with its loss."""

    def before_train(self, runner: Runner) -> None:
        self.bar = tqdm(total=runner.max_iters, unit="step", desc="training")
        self.losses: list[float] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch, outputs) -> None:
        self.losses.append(float(outputs["loss"]))
        mean = np.mean(self.losses[-20:])
        self.bar.set_postfix(loss=f"{mean:.3f}", refresh=False)
        self.bar.update()
        if len(self.losses) % 40 == 0:
            self.bar.write(f"  step {len(self.losses):4d}: loss {mean:.3f}")

    def after_train(self, runner: Runner) -> None:
        self.bar.close()


def train(cfg: Config) -> str:
    """Trains the network with mmengine's Runner; returns its checkpoint."""
    cfg = copy.deepcopy(cfg)
    for name in ("test_dataloader", "test_cfg", "test_evaluator"):
        cfg[name] = None
    runner = Runner.from_cfg(cfg)
    runner.register_hook(ProgressHook(), priority="LOWEST")
    runner.train()
    return str(Path(cfg.work_dir) / f"iter_{runner.max_iters}.pth")


@dataclass
class Run:
    """One way to run the clip, and what it gave."""

    name: str
    model: torch.nn.Module
    evaluator: Evaluator
    budget: float | None = None
    ms: list[float] = field(default_factory=list)
    stats: list[dict] = field(default_factory=list)
    pictures: list[np.ndarray] = field(default_factory=list)


def make_runs(cfg: Config, checkpoint: str, args: argparse.Namespace, meta: dict) -> list[Run]:
    """The same network dense and with each budget."""

    def evaluator() -> Evaluator:
        made = Evaluator(copy.deepcopy(cfg.test_evaluator))
        made.dataset_meta = meta
        return made

    def model():
        return to_channels_last(build_model(cfg, checkpoint))

    runs = [Run("dense", model(), evaluator())]
    for budget in args.budgets:
        run = Run(f"budget {budget:g}", model(), evaluator(), budget)
        config = mmdyn.BlockCopyConfig(
            budget=budget, block_size=args.block_size, policy=args.policy, dense_fallback=False
        )
        report = mmdyn.convert_model(run.model, config)
        if budget == args.budgets[0]:
            print(report)
        runs.append(run)
    return runs


def play(runs: list[Run], dataset, meta: dict) -> None:
    """Runs the clip: each frame by all models in turn, so that disturbances hit all alike."""
    torch.manual_seed(0)
    warm = pseudo_collate([dataset[0]])
    with torch.no_grad():
        for _ in range(2):
            runs[0].model.test_step(copy.deepcopy(warm))
    for index in tqdm(range(len(dataset)), unit="frame", desc="clip"):
        packed = dataset[index]
        image = packed["inputs"].permute(1, 2, 0).numpy()
        for run in runs:
            data = pseudo_collate([copy.deepcopy(packed)])
            started = time.perf_counter()
            with torch.no_grad():
                (sample,) = run.model.test_step(data)
            run.ms.append((time.perf_counter() - started) * 1e3)
            run.evaluator.process([sample], data)
            executed, block = None, (0, 0)
            if run.budget is not None:
                run.stats.append(dict(runtime_of(run.model).stats))
                executed, block = executed_cells(run.model)
            run.pictures.append(draw_frame(image, sample, executed, block, palette=meta["palette"]))


def results(runs: list[Run]) -> list[dict]:
    """Numbers of each run. Times, shares and GMACs are of the frames after the first."""
    rows = []
    dense_gmacs = runs[1].stats[0]["dense_gmacs"]
    dense_ms = float(np.median(runs[0].ms[1:]))
    for run in runs:
        quality = run.evaluator.evaluate(len(run.ms))
        later = run.stats[1:]
        share = float(np.mean([s["executed_share"] for s in later])) if later else 1.0
        ms = float(np.median(run.ms[1:]))
        rows.append(
            dict(
                name=run.name, miou=float(quality["mIoU"]), budget=run.budget, share=share,
                share_clip=(share * len(later) + 1) / (len(later) + 1) if later else 1.0,
                gmacs=float(np.mean([s["gmacs"] for s in later])) if later else dense_gmacs,
                ms=ms,
                policy_ms=float(np.median([s["policy_ms"] for s in later])) if later else 0.0,
                speedup=dense_ms / ms, ideal_share=dense_ms / ms * share,
            )
        )  # fmt: skip
    return rows


def table_of(rows: list[dict]) -> Table:
    columns = ("mIoU", "executed", "GMACs", "ms", "of it policy", "speed-up", "share of the ideal")
    table = Table("run", *columns, title="Frames after the first")
    for row in rows:
        dense = row["budget"] is None
        table.add_row(
            row["name"], f"{row['miou']:.1f}", f"{row['share']:.1%}", f"{row['gmacs']:.2f}",
            f"{row['ms']:.0f}", "" if dense else f"{row['policy_ms']:.1f}",
            f"{row['speedup']:.2f}", "" if dense else f"{row['ideal_share']:.2f}",
        )  # fmt: skip
    return table


def draw(runs: list[Run], rows: list[dict], args: argparse.Namespace) -> None:
    """Writes the video (dense beside the smallest budget) and the sheet."""
    chosen = np.linspace(0, len(runs[0].ms) - 1, min(3, len(runs[0].ms))).round().astype(int)
    sheet: list[list[np.ndarray]] = [[] for _ in chosen]
    with FilmWriter(args.out / "demo.mp4", fps=10) as film:
        for index in range(len(runs[0].ms)):
            shown = [framed(run, index) for run in runs]
            film.write(np.hstack([shown[0], shown[-1]]))
            if index in chosen:
                sheet[list(chosen).index(index)] = shown
    caption = (
        "Bright blocks inside the yellow line were executed, faded ones copied from the frame "
        "before; the bar is the share executed, its mark the budget. "
        + "; ".join(
            f"{r['name']}: mIoU {r['miou']:.1f}, {r['gmacs']:.1f} GMACs a frame" for r in rows
        )
    )
    title = "A clip the network has not seen: the first frame runs whole, later ones in part"
    cv2.imwrite(str(args.out / "demo.png"), compose_sheet(sheet, title, caption, width=1800))


def framed(run: Run, index: int) -> np.ndarray:
    """A frame's picture with its title and panel."""
    picture = add_title(run.pictures[index], run.name, f"frame {index}")
    if run.budget is None:
        return add_panel(picture, {"blocks executed": "100%"}, 1.0)
    stats = run.stats[index]
    facts = {
        "blocks executed": f"{stats['executed_share']:.0%}",
        "GMACs (dense)": f"{stats['gmacs']:.1f} ({stats['dense_gmacs']:.1f})",
    }
    return add_panel(picture, facts, stats["executed_share"], run.budget)


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    keep_freed_memory()
    cv2.setNumThreads(1)
    warnings.filterwarnings("ignore", module=r"(mmseg|mmdet|mmengine)\b")
    started = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    root = paint(args)
    cfg = config_for(args, root)
    checkpoint = args.checkpoint or train(cfg)
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    with one_line_errors():
        runs = make_runs(cfg, checkpoint, args, dataset.metainfo)
    play(runs, dataset, dataset.metainfo)
    rows = results(runs)
    Console(width=100).print(table_of(rows))
    print(
        f"Dense is the same network, eager and channels-last. The first frame runs whole "
        f"({runs[-1].ms[0]:.0f} ms); with it the clip executed "
        + ", ".join(f"{r['share_clip']:.3f} (budget {r['budget']:g})" for r in rows[1:])
        + f".\nWhole demo: {time.perf_counter() - started:.0f} s on {os.cpu_count()} CPUs."
    )
    draw(runs, rows, args)
    (args.out / "demo.json").write_text(json.dumps(rows, indent=2) + "\n")
    print(f"Look at {args.out / 'demo.png'} and {args.out / 'demo.mp4'}.")


if __name__ == "__main__":
    main()
