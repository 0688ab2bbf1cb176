"""Runs any mmdet or mmseg network on a video or a folder of images, and draws what was executed.

    python tools/video_demo.py CONFIG CHECKPOINT VIDEO_OR_FOLDER --out out.mp4 \\
        [--budget 0.3] [--policy reinforce] [--show-blocks] [--dense] [--sheet sheet.png]

A config without mmdyn in it is converted on the fly. Frames that cannot be read are skipped with
a warning. CHECKPOINT may be 'none' for random weights.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

import mmdyn
from mmdyn.conversion import runtime_of
from mmdyn.engine.inference import (
    build_model,
    convert_as_asked,
    frames_dataset,
    pipeline_config,
    read_config,
    read_frames,
)
from mmdyn.ops.allocator import keep_freed_memory
from mmdyn.policies import save_policy
from mmdyn.policies.information_gain import information_gain
from mmdyn.policies.sampling import inclusion_probabilities
from mmdyn.visualization import FilmWriter, add_panel, add_title, compose_sheet, draw_frame
from mmdyn.visualization.blocks import shade_cells
from mmdyn.visualization.hooks import block_in_original, executed_cells, frame_facts


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a file, mmdet::FOLDER/FILE.py or mmseg::FOLDER/FILE.py")
    parser.add_argument("checkpoint", help="a file, a URL or 'none'")
    parser.add_argument("source", help="video file, or folder of images")
    parser.add_argument("--out", required=True, help="annotated video, .mp4 or .avi")
    parser.add_argument("--budget", type=float, help="share of the blocks to execute, 0 to 1")
    parser.add_argument("--policy", help="reinforce, frame_difference, random, all, none, oracle")
    parser.add_argument("--block-size", type=int, help="side of a block in pixels of the input")
    parser.add_argument("--dense", action="store_true", help="run the network as it is")
    parser.add_argument(
        "--show-blocks",
        action="store_true",
        help="draw each cell's information gain and its probability to be executed beside it",
    )
    parser.add_argument("--sheet", help="picture of some frames (.png)")
    parser.add_argument("--sheet-frames", type=int, default=6)
    parser.add_argument("--save-policy", help="file for what the policy has learned in the end")
    parser.add_argument("--frames", type=int, help="stop after this many frames")
    parser.add_argument("--threshold", type=float, default=0.3, help="lowest score drawn")
    parser.add_argument("--fps", type=float, help="of the video written; default: the source's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    return parser.parse_args(arguments)


def check_arguments(args: argparse.Namespace) -> None:
    """Refuses what could not be done, before anything is computed.

    Raises:
        ValueError: For an ending that is not known, or no frames asked for.
    """
    if args.frames is not None and args.frames < 1:
        raise ValueError(f"--frames must be at least 1, got {args.frames}")
    FilmWriter(args.out)
    if args.save_policy and args.dense:
        raise ValueError("--save-policy wants a policy, and --dense has none")
    endings = (".png", ".jpg", ".jpeg")
    if args.sheet and not args.sheet.lower().endswith(endings):
        raise ValueError(f"--sheet must end in one of {', '.join(endings)}, got {args.sheet}")


def make_model(args: argparse.Namespace, cfg: Config):
    """The config's model, converted as asked for."""
    checkpoint = None if args.checkpoint == "none" else args.checkpoint
    model = build_model(cfg, checkpoint, args.device)
    if args.dense:
        if mmdyn.is_converted(model):
            mmdyn.restore_model(model)
        return model
    asked = dict(budget=args.budget, policy=args.policy, block_size=args.block_size)
    print(convert_as_asked(model, asked, dense_fallback=True))
    return model


class BlockMeter:
    """What the policy thought of each cell before a frame, and what executing it told."""

    def __init__(self, model) -> None:
        self.model, self.before = model, None

    def __call__(self) -> dict[str, np.ndarray | None]:
        """Title to (GH, GW) numbers; None on first frames, and if the policy has no such thing."""
        return {"information gain": self._gain(), "probability": self._probability()}

    def _gain(self) -> np.ndarray | None:
        runtime = runtime_of(self.model)
        state = next(reversed(runtime.streams.states.values()))
        task, before = state.task, self.before
        self.before = task
        if task is None or before is None or state.frames < 2:
            return None
        size = runtime.last_frame.grid.size
        return information_gain(before, task, size).cpu().numpy()

    def _probability(self) -> np.ndarray | None:
        runtime = runtime_of(self.model)
        weights = runtime.last_observation.log_weights
        if weights is None:
            return None
        count = round(runtime.config.budget * weights[0].numel())
        chances = inclusion_probabilities(weights[:1].flatten(1), count)
        return chances.view(weights.shape[1:]).cpu().numpy()


def annotate(frame, sample, model, dense: bool, ms: float, args, shades: dict) -> np.ndarray:
    """The frame with prediction and executed blocks, what else is known of them, and a panel."""
    meta = model.dataset_meta
    looks = (meta.get("classes") or (), meta.get("palette"), args.threshold)
    if dense:
        drawn = draw_frame(frame.image, sample, None, (0, 0), *looks)
        return add_panel(drawn, {"frame": str(frame.number), "network": f"{ms:.0f} ms, dense"})
    executed, block = executed_cells(model)
    block = block_in_original(block, sample.metainfo)
    drawn = draw_frame(frame.image, sample, executed, block, *looks)
    if shades:
        drawn = np.hstack([add_title(drawn, "executed"), *_shaded(frame.image, shades, block)])
    runtime = runtime_of(model)
    facts = {"frame": str(frame.number), **frame_facts(runtime.stats)}
    return add_panel(drawn, facts, float(executed.mean()), runtime.config.budget)


def _shaded(image: np.ndarray, shades: dict, block) -> list[np.ndarray]:
    """A titled picture for each set of numbers; plain where there are none."""
    pictures = []
    for title, values in shades.items():
        if values is None:
            pictures.append(add_title(image, title, "none yet"))
            continue
        limits = (0.0, 1.0) if title == "probability" else None
        shaded = shade_cells(image, values, block, limits=limits)
        pictures.append(add_title(shaded, title, f"to {values.max():.2f}"))
    return pictures


def run(model, dataset, args: argparse.Namespace) -> list[dict]:
    """Runs, draws and writes all frames; returns each frame's numbers."""
    rows, kept = [], []
    total = len(dataset) if args.frames is None else min(args.frames, len(dataset))
    chosen = set(np.linspace(0, total - 1, min(args.sheet_frames, total)).round().astype(int))
    meter = BlockMeter(model) if args.show_blocks and not args.dense else None
    fps = args.fps or getattr(dataset, "fps", 25.0)
    with FilmWriter(args.out, fps) as film, tqdm(total=total, unit="frame") as bar:
        for frame in read_frames(dataset, args.frames):
            started = time.perf_counter()
            with torch.no_grad():
                (sample,) = model.test_step(frame.data)
            ms = (time.perf_counter() - started) * 1e3
            shades = meter() if meter is not None else {}
            drawn = annotate(frame, sample.cpu(), model, args.dense, ms, args, shades)
            film.write(drawn)
            if args.sheet and frame.number in chosen:
                kept.append(drawn)
            stats = {} if args.dense else dict(runtime_of(model).stats)
            rows.append({**stats, "frame": frame.number, "step_ms": ms})
            bar.update(frame.number + 1 - bar.n)
            bar.set_postfix(ms=f"{ms:.0f}", share=f"{stats.get('executed_share', 1):.2f}")
    if args.sheet and kept:
        columns = 2 if len(kept) < 9 else 3
        grid = [kept[k : k + columns] for k in range(0, len(kept), columns)]
        write_picture(args.sheet, compose_sheet(grid, f"{args.config}: {args.source}"))
    if len(rows) < total:
        print(f"{total - len(rows)} of {total} frames could not be read", file=sys.stderr)
    return rows


def write_picture(path: str, image: np.ndarray) -> None:
    """Writes a picture, by its ending."""
    import mmcv

    if not mmcv.imwrite(image, path):
        raise OSError(f"could not write {path}; is the folder writable?")


def summary(rows: list[dict], dense: bool) -> Table:
    """A table of the means, first frames apart: they run whole."""
    table = Table("frames", "number", "blocks executed", "GMACs", "network ms", "policy ms")
    if dense:
        table.add_row("all", str(len(rows)), "100%", "", f"{_mean(rows, 'step_ms'):.0f}", "")
        return table
    for name, first in (("first", True), ("next", False)):
        part = [row for row in rows if bool(row["first_frame"]) is first]
        if part:
            table.add_row(
                name, str(len(part)), f"{_mean(part, 'executed_share'):.1%}",
                f"{_mean(part, 'gmacs'):.2f} of {_mean(part, 'dense_gmacs'):.2f}",
                f"{_mean(part, 'step_ms'):.0f}", f"{_mean(part, 'policy_ms'):.1f}",
            )  # fmt: skip
    return table


def _mean(rows: list[dict], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    keep_freed_memory()
    try:
        check_arguments(args)
        cfg = read_config(args.config, args.cfg_options)
        init_default_scope(cfg.get("default_scope", "mmengine"))
        dataset = frames_dataset(args.source, pipeline_config(cfg))
        model = make_model(args, cfg)
    except (OSError, ValueError) as error:
        sys.exit(f"tools/video_demo.py: {error}")
    rows = run(model, dataset, args)
    if not rows:
        sys.exit(f"tools/video_demo.py: no frame of {args.source} could be read")
    Console().print(summary(rows, args.dense))
    if args.save_policy:
        save_policy(runtime_of(model).policy, args.save_policy)
        print(f"wrote {args.save_policy}: policy=dict(type=..., checkpoint=...) starts from it")
    print(f"wrote {args.out}" + (f" and {args.sheet}" if args.sheet else ""))


if __name__ == "__main__":
    main()
