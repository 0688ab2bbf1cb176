"""Counts multiply-accumulates per module: of the dense network, and executed on blocks.

    python tools/get_flops.py CONFIG [--shape 512 1024] [--active 0.3]
    python tools/get_flops.py CONFIG --method segblocks --active 0.4 [--shape 1024 2048]
    python tools/get_flops.py CONFIG --checkpoint FILE --clip FOLDER_OR_VIDEO --budget 0.3

Without --clip the network sees noise: a random share of the blocks is executed after a first full
frame, or under SegBlocks a share at full resolution and the others at half. With it the policy
decides, on the clip's own frames. Convolutions and linear layers are counted, one multiply and one
add being one MAC, as mmengine's get_model_complexity_info does.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from mmengine.config import DictAction
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

import mmdyn
from mmdyn.conversion import BlockCopyConfig, SegBlocksConfig, runtime_of
from mmdyn.conversion.counting import count_macs
from mmdyn.engine.inference import (
    build_model,
    convert_as_asked,
    frames_dataset,
    pipeline_config,
    read_config,
    read_frames,
)
from mmdyn.ops.allocator import keep_freed_memory


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a file, mmdet::FOLDER/FILE.py or mmseg::FOLDER/FILE.py")
    parser.add_argument("--checkpoint", help="weights; random ones by default")
    parser.add_argument("--shape", type=int, nargs="+", default=[512, 1024], metavar="SIDE")
    parser.add_argument("--block-size", type=int, default=128, help="side in pixels")
    parser.add_argument(
        "--method", choices=["blockcopy", "segblocks"], help="by default the config's, or blockcopy"
    )
    parser.add_argument("--active", type=float, default=0.3, help="share of the blocks executed")
    parser.add_argument("--clip", help="video file or folder of images")
    parser.add_argument("--frames", type=int, default=30, help="frames of the clip")
    parser.add_argument("--budget", type=float, help="for --clip; by default the config's, or 0.3")
    parser.add_argument("--policy", help="for --clip; by default the config's, or reinforce")
    parser.add_argument("--dense", action="store_true", help="count the dense network only")
    parser.add_argument("--depth", type=int, default=2, help="levels of modules in the table")
    parser.add_argument("--json", type=Path, help="write all modules' numbers to this file")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    args = parser.parse_args(arguments)
    if len(args.shape) > 2 or min(args.shape) < 1:
        parser.error(f"--shape takes one or two sides in pixels, got {args.shape}")
    if not 0 <= args.active <= 1:
        parser.error(f"--active is a share from 0 to 1, got {args.active}")
    if args.clip and args.method not in (None, "blockcopy"):
        parser.error(f"--clip counts BlockCopy; leave it off for --method {args.method}")
    return args


def executed_on_noise(model, args: argparse.Namespace) -> tuple[dict, dict]:
    """MACs by module of a dense frame, and of one with a random share of the cells executed."""
    size = (args.shape[0], args.shape[-1])
    config = BlockCopyConfig(
        budget=args.active, block_size=args.block_size, policy=dict(type="random", seed=0),
        learning=False, scene_cut=float("inf"), refresh=None, dense_fallback=False,
    )  # fmt: skip
    dense = count_macs(model, size)
    if args.dense:
        return dense, {}
    if args.method == "segblocks":
        config = SegBlocksConfig(budget=args.active, block_size=args.block_size)
        mmdyn.convert_model(model, config, trial=False)
        executed = count_macs(model, size)
        return {**dense, **dict.fromkeys(executed.keys() - dense.keys(), 0.0)}, executed
    mmdyn.convert_model(model, config, trial=False)
    runtime = runtime_of(model)
    count_macs(model, size)
    for state in runtime.streams.states.values():
        # The first full frame is not to be paid back: later ones have the share asked for.
        state.controller.reset()
    return dense, mean_of([count_macs(model, size) for _ in range(16)])


def executed_on_clip(model, args: argparse.Namespace, pipeline: list) -> tuple[dict, dict]:
    """Mean MACs by module over the clip's frames after the first, dense and executed."""
    runtime = runtime_of(model)
    dense, frames = {}, []
    dataset = frames_dataset(args.clip, pipeline)
    total = min(args.frames, len(dataset))
    for frame in tqdm(read_frames(dataset, args.frames), total=total, unit="frame"):
        with torch.no_grad():
            model.test_step(frame.data)
        if runtime.stats["first_frame"]:
            dense = dict(runtime.last_frame.macs)
        else:
            frames.append(dict(runtime.last_frame.macs))
    if not frames:
        raise ValueError(f"{args.clip} has no frame after the first; give a longer clip.")
    return dense, mean_of(frames)


def mean_of(frames: list[dict]) -> dict:
    """The mean of each module's MACs; a module that a frame did not call counts 0 there."""
    names = dict.fromkeys(name for frame in frames for name in frame)
    return {name: sum(f.get(name, 0.0) for f in frames) / len(frames) for name in names}


def table_of(dense: dict, executed: dict, depth: int) -> Table:
    """One row for each module down to a depth, indented, with the sum of what is below it."""
    table = Table("module", "dense GMACs", "executed GMACs", "share")
    rows: dict[str, list[float]] = {}
    for name in dense:
        parts = name.split(".")
        for level in range(min(depth, len(parts)) + 1):
            row = rows.setdefault(".".join(parts[:level]), [0.0, 0.0])
            row[0] += dense[name]
            row[1] += executed.get(name, 0.0)
    place = {name: k for k, name in enumerate(rows)}

    def branch(name: str) -> list[int]:
        """Where a module and those around it were first called: puts it below its parent."""
        parts = name.split(".") if name else []
        return [place[".".join(parts[:level])] for level in range(len(parts) + 1)]

    for name in sorted(rows, key=branch):
        full, ran = rows[name]
        level = len(branch(name)) - 1
        label = "  " * level + (name.rsplit(".", 1)[-1] if name else "(model)")
        share = f"{ran / full:.1%}" if executed and full else ""
        table.add_row(label, f"{full / 1e9:.3f}", f"{ran / 1e9:.3f}" if executed else "", share)
    return table


def method_of(model, args: argparse.Namespace) -> str:
    """What to count: as asked, or what the config's line says.

    Raises:
        ValueError: It says DynConv, whose shares are known on images only.
    """
    own = type(model).method.lower() if mmdyn.is_converted(model) else "blockcopy"
    if own == "dynconv" and args.method is None and not args.dense:
        raise ValueError(
            f"{args.config} has DynConv's gates, which decide by the image: tools/compare_gates.py "
            "counts them on its test set; --dense counts the stock network, --method another one"
        )
    return args.method or own


def prepare_clip(args: argparse.Namespace, model) -> None:
    """Converts the model for a clip, or gives its own conversion another budget or policy."""
    asked = dict(budget=args.budget, policy=args.policy)
    convert_as_asked(model, asked, trial=False, budget=0.3, block_size=args.block_size)


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    keep_freed_memory()
    torch.manual_seed(0)
    try:
        cfg = read_config(args.config, args.cfg_options)
        model = build_model(cfg, args.checkpoint)
        if args.clip:
            prepare_clip(args, model)
            dense, executed = executed_on_clip(model, args, pipeline_config(cfg))
        else:
            args.method = method_of(model, args)
            if mmdyn.is_converted(model):
                mmdyn.restore_model(model)
            dense, executed = executed_on_noise(model, args)
    except (OSError, ValueError) as error:
        sys.exit(f"tools/get_flops.py: {error}")
    Console(width=100).print(table_of(dense, executed, args.depth))
    full, ran = sum(dense.values()), sum(executed.values())
    print(f"dense {full / 1e9:.3f} GMACs" + (f", executed {ran / 1e9:.3f}" if executed else ""))
    if args.json:
        record = dict(
            config=args.config, shape=args.shape, dense_macs=full, executed_macs=ran,
            modules={k: dict(dense=v, executed=executed.get(k, 0.0)) for k, v in dense.items()},
        )  # fmt: skip
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
