"""Pictures of executed blocks while a test runs."""

from __future__ import annotations

import os.path as osp
import re
from collections.abc import Sequence

import cv2
import mmcv
import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmdyn.blocks import Level
from mmdyn.conversion import SegBlocksConfig, is_converted, runtime_of
from mmdyn.registry import HOOKS
from mmdyn.visualization.blocks import draw_blocks
from mmdyn.visualization.panels import add_panel
from mmdyn.visualization.predictions import draw_frame


@HOOKS.register_module()
class BlockVisualizationHook(Hook):
    """Writes test frames with prediction, executed blocks and their cost drawn in.

    ``default_hooks = dict(block_visualization=dict(type='mmdyn.BlockVisualizationHook'))`` in a
    config whose model is ``mmdyn.BlockCopy``, or beside ``mmdyn.BlockCopyHook``. They are
    named ``<clip>_<frame>.jpg``.

    Args:
        interval (int): Draws every interval-th batch. Default 1.
        out_dir (str | None): Folder; None for ``<work_dir>/<timestamp>/blocks``. Default None.
        prediction (bool): Draws what the network said under the blocks. Default True.
        threshold (float): Lowest score of an instance that is drawn. Default 0.3.
    """

    priority = "LOW"

    def __init__(
        self,
        interval: int = 1,
        out_dir: str | None = None,
        prediction: bool = True,
        threshold: float = 0.3,
    ) -> None:
        if interval < 1:
            raise ValueError(f"interval must be at least 1, got {interval}")
        self.interval, self.out_dir = interval, out_dir
        self.prediction, self.threshold = prediction, threshold

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence
    ) -> None:
        """Draws the frames of a batch.

        Raises:
            ValueError: If the model is not converted: there are no blocks to draw.
        """
        if batch_idx % self.interval:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not is_converted(model):
            raise ValueError(
                f"BlockVisualizationHook draws executed blocks, but {type(model).__name__} is not "
                "converted; use model=dict(type='mmdyn.BlockCopy', ...) or add mmdyn.BlockCopyHook"
            )
        folder = self.out_dir or osp.join(runner.log_dir, "blocks")
        dataset_meta = getattr(runner.test_dataloader.dataset, "metainfo", {})
        for index, sample in enumerate(outputs):
            image = network_input(data_batch["inputs"][index])
            executed, block = executed_cells(model, index)
            drawn = self._draw(image, sample, executed, block, dataset_meta)
            facts = frame_facts(runtime_of(model).stats)
            drawn = add_panel(drawn, facts, float(executed.mean()))
            name = f"{_frame_name(sample.metainfo, batch_idx * len(outputs) + index)}.jpg"
            mmcv.imwrite(drawn, osp.join(folder, name))

    def _draw(self, image: np.ndarray, sample, executed, block, dataset_meta: dict) -> np.ndarray:
        """Predictions are of the original picture's size, so that is what they are drawn in."""
        if not self.prediction:
            return draw_blocks(image, executed, block)
        height, width = sample.metainfo["ori_shape"][:2]
        shown = sample.metainfo.get("img_shape", image.shape)[:2]
        original = cv2.resize(image[: shown[0], : shown[1]], (width, height))
        return draw_frame(
            original, sample, executed, block_in_original(block, sample.metainfo),
            dataset_meta.get("classes") or (), dataset_meta.get("palette"), self.threshold,
        )  # fmt: skip


def executed_cells(model, index: int = 0) -> tuple[np.ndarray, tuple[int, int]]:
    """What the last frame of a converted model executed; with SegBlocks, at full resolution.

    Args:
        model: A converted model that has run.
        index: Which image of the batch.

    Returns:
        (GH, GW) bool, and the block's height and width in pixels of the network's input.

    Raises:
        ValueError: If it has not run yet.
    """
    runtime = runtime_of(model)
    frame = runtime.last_frame
    if frame is None:
        raise ValueError(f"{type(model).__name__} has not run a frame since it was converted")
    levels = frame.grid.levels[index]
    halves_count = not isinstance(runtime.config, SegBlocksConfig)
    cells = levels != Level.COPIED if halves_count else levels == Level.FULL
    return cells.cpu().numpy(), frame.grid.block_size


def block_in_original(block: tuple[int, int], meta: dict) -> tuple[float, float]:
    """A block's height and width in pixels of the original picture, from those of the input."""
    height, width = meta["ori_shape"][:2]
    shown = meta.get("img_shape", (height, width))[:2]
    return block[0] * height / shown[0], block[1] * width / shown[1]


def frame_facts(stats: dict) -> dict[str, str]:
    """A frame's statistics as words, for a panel."""
    on_video = "first_frame" in stats
    what = "blocks executed" if on_video else "at full resolution"
    facts = {what: f"{stats['executed_share']:.0%}"}
    if stats.get("dense_gmacs"):
        facts["GMACs (dense)"] = f"{stats['gmacs']:.1f} ({stats['dense_gmacs']:.1f})"
    facts["network"] = f"{stats['ms']:.0f} ms"
    facts["policy"] = f"{stats['policy_ms']:.1f} ms"
    return facts


def network_input(inputs: torch.Tensor) -> np.ndarray:
    """(H, W, 3) uint8 of a packed image (3, H, W), before it is normalised."""
    return np.ascontiguousarray(inputs.permute(1, 2, 0).clamp(0, 255).byte().cpu().numpy())


def _frame_name(meta: dict, number: int) -> str:
    if meta.get("video_id") is not None:
        name = f"{meta['video_id']}_{int(meta.get('frame_id', number)):06d}"
    else:
        name = osp.splitext(osp.basename(meta.get("img_path") or f"{number:06d}"))[0]
    return re.sub(r"[^\w.-]+", "_", str(name)).strip("._") or f"{number:06d}"
