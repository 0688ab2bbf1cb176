"""Trains any mmdet or mmseg config, with mmdyn's methods in it or without.

    python tools/train.py CONFIG [--work-dir DIR] [--amp] [--resume] [--cfg-options KEY=VALUE ...]

CONFIG is a file, or mmdet::FOLDER/FILE.py or mmseg::FOLDER/FILE.py for a config of an installed
package. Several processes: tools/dist_train.sh.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint

from mmdyn.engine.inference import check_checkpoint, read_config
from mmdyn.engine.launch import finish_launch, prepare_launch
from mmdyn.ops.allocator import keep_freed_memory


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a file, mmdet::FOLDER/FILE.py or mmseg::FOLDER/FILE.py")
    parser.add_argument("--work-dir", help="folder of logs and checkpoints")
    parser.add_argument(
        "--amp",
        action="store_true",
        help="mixed precision: mmengine's float16 on a GPU, bfloat16 without one",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        help="go on from this checkpoint, or from the last one in the work folder if there is one",
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="KEY=VALUE merged into the config"
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    return parser.parse_args()


def use_mixed_precision(cfg: Config) -> None:
    """Changes the config's optimizer wrapper into one that trains in mixed precision.

    Raises:
        ValueError: If the config has a wrapper of its own kind.
    """
    wrapper = cfg.optim_wrapper
    kind = wrapper.get("type", "OptimWrapper")
    name = kind if isinstance(kind, str) else kind.__name__
    if name in ("AmpOptimWrapper", "mmdyn.AutocastOptimWrapper"):
        return
    if name != "OptimWrapper":
        raise ValueError(
            f"--amp replaces an optim_wrapper of type 'OptimWrapper', and the config has {name!r}; "
            "leave --amp off."
        )
    if torch.cuda.is_available():
        cfg.optim_wrapper = ConfigDict(wrapper, type="AmpOptimWrapper", loss_scale="dynamic")
    else:
        cfg.optim_wrapper = ConfigDict(wrapper, type="mmdyn.AutocastOptimWrapper")


def resume_from_work_dir(cfg: Config) -> None:
    """Goes on from the work folder's last checkpoint; without one the training starts.

    mmengine would resume from ``load_from``, the weights that a training starts from.
    """
    last = find_latest_checkpoint(cfg.work_dir)
    cfg.resume = last is not None
    if last is not None:
        cfg.load_from = last


def main() -> None:
    args = parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    keep_freed_memory()
    try:
        cfg = read_config(args.config, args.cfg_options)
        stem = Path(args.config.split("::")[-1]).stem
        cfg.work_dir = args.work_dir or cfg.get("work_dir") or f"work_dirs/{stem}"
        if args.resume == "auto":
            resume_from_work_dir(cfg)
        elif args.resume:
            cfg.resume, cfg.load_from = True, args.resume
        if cfg.get("load_from"):
            check_checkpoint(cfg.load_from)
        if args.amp:
            use_mixed_precision(cfg)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"tools/train.py: {error}")
    prepare_launch(cfg, args.launcher)
    runner = RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)
    runner.train()


if __name__ == "__main__":
    main()
    finish_launch()
