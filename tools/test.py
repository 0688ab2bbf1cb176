"""Tests any mmdet or mmseg config, with mmdyn's methods in it or without.

    python tools/test.py CONFIG CHECKPOINT [--out results.pkl] [--show-dir DIR]
    python tools/test.py CONFIG CHECKPOINT --cfg-options \\
        default_hooks.blockcopy.type=mmdyn.BlockCopyHook default_hooks.blockcopy.budget=0.3

CONFIG is a file, or mmdet::FOLDER/FILE.py or mmseg::FOLDER/FILE.py for a config of an installed
package. CHECKPOINT is a file, a URL, or 'none' for random weights. Several processes:
tools/dist_test.sh.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from common.comparing import one_line_errors
from mmengine.config import Config, DictAction
from mmengine.evaluator import DumpResults
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmdyn.engine.inference import check_fit, dataset_config, read_checkpoint, read_config
from mmdyn.engine.launch import finish_launch, prepare_launch
from mmdyn.ops.allocator import keep_freed_memory


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a file, mmdet::FOLDER/FILE.py or mmseg::FOLDER/FILE.py")
    parser.add_argument("checkpoint", help="a file, a URL or 'none'")
    parser.add_argument("--work-dir", help="folder of logs and metrics")
    parser.add_argument("--out", help="file for the predictions (.pkl)")
    parser.add_argument(
        "--show-dir",
        help="folder for pictures: with executed blocks under BlockCopy, else with predictions",
    )
    parser.add_argument("--interval", type=int, default=1, help="draws every interval-th frame")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="KEY=VALUE merged into the config"
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    return parser.parse_args()


def uses_blockcopy(cfg: Config) -> bool:
    """Whether the config's model or one of its hooks is BlockCopy's."""
    hooks = [*cfg.get("default_hooks", {}).values(), *(cfg.get("custom_hooks") or [])]
    types = [cfg.model.get("type"), *(hook.get("type") for hook in hooks if hook)]
    names = [t if isinstance(t, str) else getattr(t, "__name__", "") for t in types]
    return any(name.split(".")[-1] in ("BlockCopy", "BlockCopyHook") for name in names)


def use_augmentation(cfg: Config) -> None:
    """Puts the config's ``tta_model`` and ``tta_pipeline`` in place.

    Raises:
        ValueError: Under BlockCopy, or if the config has none.
    """
    if uses_blockcopy(cfg):
        raise ValueError(
            "test-time augmentation gives one frame several times, flipped and scaled, and "
            "BlockCopy needs a clip's frames once and in order; test without --tta."
        )
    if "tta_model" not in cfg or "tta_pipeline" not in cfg:
        raise ValueError("--tta needs tta_model and tta_pipeline in the config; leave it off.")
    cfg.model = {**cfg.tta_model, "module": cfg.model}
    dataset_config(cfg)["pipeline"] = cfg.tta_pipeline


def keep_clips_whole(cfg: Config, launcher: str) -> None:
    """Gives each process whole clips under BlockCopy: mmengine's sampler gives every n-th frame.

    Raises:
        ValueError: If the config has a sampler that is neither mmengine's nor ``ClipSampler``.
    """
    if launcher == "none" or not uses_blockcopy(cfg):
        return
    sampler = cfg.test_dataloader.get("sampler", {}).get("type", "DefaultSampler")
    name = (sampler if isinstance(sampler, str) else sampler.__name__).split(".")[-1]
    if name not in ("DefaultSampler", "ClipSampler"):
        raise ValueError(
            f"the test sampler {name!r} may interleave frames over processes, and BlockCopy needs "
            "a clip's frames in order; set test_dataloader.sampler=dict(type='mmdyn.ClipSampler')."
        )
    if name == "DefaultSampler":
        print("test_dataloader.sampler: mmdyn.ClipSampler, which keeps clips whole")
    cfg.test_dataloader.pop("sampler", None)
    cfg.test_dataloader.sampler = dict(type="mmdyn.ClipSampler")


def draw_into(cfg: Config, folder: str, interval: int) -> None:
    """Adds the hook that writes pictures into a folder."""
    if uses_blockcopy(cfg):
        cfg.default_hooks["block_visualization"] = dict(
            type="mmdyn.BlockVisualizationHook", out_dir=folder, interval=interval
        )
        return
    hook = dict(cfg.default_hooks.get("visualization") or {})
    if not hook:
        scope = cfg.get("default_scope", "mmseg")
        hook["type"] = "DetVisualizationHook" if scope == "mmdet" else "SegVisualizationHook"
    hook.update(draw=True, interval=interval)
    if hook["type"] == "DetVisualizationHook":
        hook["test_out_dir"] = os.path.abspath(folder)
    else:
        cfg.visualizer["save_dir"] = folder
    cfg.default_hooks["visualization"] = hook


def main() -> None:
    args = parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    keep_freed_memory()
    try:
        cfg = read_config(args.config, args.cfg_options)
        cfg.load_from = None if args.checkpoint == "none" else args.checkpoint
        weights = cfg.load_from and read_checkpoint(cfg.load_from)
        if "test_dataloader" not in cfg:
            raise ValueError("the config has no test_dataloader; add one to test.")
        if args.out and not args.out.endswith((".pkl", ".pickle")):
            raise ValueError(f"--out must end in .pkl or .pickle, got {args.out}.")
        if args.tta:
            use_augmentation(cfg)
        keep_clips_whole(cfg, args.launcher)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"tools/test.py: {error}")
    stem = Path(args.config.split("::")[-1]).stem
    cfg.work_dir = args.work_dir or cfg.get("work_dir") or f"work_dirs/{stem}"
    cfg.resume = False
    if args.show_dir:
        draw_into(cfg, args.show_dir, args.interval)
    prepare_launch(cfg, args.launcher)
    runner = RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)
    if weights is not None:  # the runner reads the file again, and would take any
        with one_line_errors():
            check_fit(runner.model, weights, args.checkpoint)
        del weights
    if args.out:
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
    runner.test()


if __name__ == "__main__":
    main()
    finish_launch()
