"""Several processes, with GPUs or without."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.logging import print_log


def prepare_launch(cfg: Config, launcher: str) -> None:
    """Makes a config ready for ``Runner.from_cfg`` under a launcher.

    mmengine's own start of several processes needs GPUs. Without one, the processes of ``torchrun``
    are joined here, by gloo; SyncBN, which knows GPUs only, becomes BN with each process's own
    statistics.

    Args:
        cfg: The whole config, changed in place.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.

    Raises:
        RuntimeError: If 'pytorch' is asked for outside of torchrun.
    """
    cfg.launcher = launcher
    if launcher != "pytorch":
        return
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR") if name not in os.environ]
    if missing:
        raise RuntimeError(
            f"--launcher pytorch needs {', '.join(missing)} in the environment; start the tool by "
            "tools/dist_train.sh, tools/dist_test.sh or torchrun."
        )
    if torch.cuda.is_available():
        return
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    cfg.env_cfg = {**cfg.get("env_cfg", {}), "dist_cfg": dict(backend="gloo")}
    wrapper = cfg.get("model_wrapper_cfg") or dict(
        type="MMDistributedDataParallel",
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    cfg.model_wrapper_cfg = {**wrapper, "device_ids": None}
    if without_sync(cfg.model):
        print_log(
            "no GPU: SyncBN runs as BN with each process's own statistics",
            logger="current",
            level=logging.WARNING,
        )


def finish_launch() -> None:
    """Ends a process that gloo joined and that has done its work; others it leaves alone.

    The interpreter's own end now and then aborts such a process, seen on a loaded machine as
    "terminate called without an active exception", and torchrun takes that for a failure.
    """
    if not dist.is_initialized() or dist.get_backend() != "gloo":
        return
    dist.destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def without_sync(node: Any) -> int:
    """Changes SyncBN to BN in a model's config, in place; returns how many there were."""
    if isinstance(node, dict):
        found = int(node.get("type") in ("SyncBN", "MMSyncBN"))
        if found:
            node["type"] = "BN"
        return found + sum(without_sync(value) for value in node.values())
    if isinstance(node, (list, tuple)):
        return sum(without_sync(value) for value in node)
    return 0
