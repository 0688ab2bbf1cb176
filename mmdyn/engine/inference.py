"""From a config, a checkpoint and a video to a model and its frames; what the tools share."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseTTAModel, is_model_wrapper, revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader, _load_checkpoint_to_model

from mmdyn import compat
from mmdyn.conversion import (
    BlockCopyConfig,
    ConversionReport,
    convert_model,
    is_converted,
    restore_model,
    runtime_of,
)
from mmdyn.conversion.gated import GATE
from mmdyn.conversion.segblocks_runtime import POLICY

logger = logging.getLogger(__name__)


def read_config(path: str | os.PathLike, options: dict | None = None) -> Config:
    """Reads a config with all repairs of ``mmdyn.compat`` in force.

    Args:
        path: A file, or ``mmdet::…`` or ``mmseg::…``, a config of an installed package.
        options: ``--cfg-options``, merged into it.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    compat.prepare()
    name = os.fspath(path)
    if "::" in name:
        cfg = Config.fromstring(f"_base_ = {name!r}\n", ".py")
    elif os.path.isfile(name):
        cfg = Config.fromfile(name)
    else:
        raise FileNotFoundError(
            f"config {name} is missing; give a path, or mmdet::FOLDER/FILE.py or "
            "mmseg::FOLDER/FILE.py for a config of an installed package."
        )
    if options:
        cfg.merge_from_dict(options)
    return cfg


def check_checkpoint(path: str) -> str:
    """The path of a checkpoint that is there, or a URL.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if "://" not in path and not os.path.isfile(path):
        near = sorted(str(p) for p in Path(path).parent.glob("*.pth"))[:5]
        there = f"; in that folder are {', '.join(near)}" if near else ""
        raise FileNotFoundError(
            f"checkpoint {path} is missing{there}; train one with tools/train.py or give another "
            "path or a URL."
        )
    return path


@contextmanager
def broken_file_named(path: str | os.PathLike) -> Iterator[None]:
    """ValueError that names the checkpoint, for whatever the bytes of a broken one make."""
    try:
        yield
    except OSError:  # it says which file and why
        raise
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"checkpoint {path} cannot be read ({said[:200]}); is the file whole? Fetch it or "
            "train again."
        ) from error


def load_weights(model, path: str) -> dict:
    """Loads a checkpoint's weights into a model; returns the checkpoint.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, or broken, or another network's: most of the model's
            parameters are not in it.
    """
    checkpoint = read_checkpoint(path)
    check_fit(model, checkpoint, path)
    return _load_checkpoint_to_model(model, checkpoint)


def read_checkpoint(path: str) -> Any:
    """What a checkpoint holds, on the CPU; errors as of `load_weights`."""
    check_checkpoint(path)
    with broken_file_named(path):
        return CheckpointLoader.load_checkpoint(path, map_location="cpu", logger=None)


def check_fit(model, checkpoint: Any, path: str) -> None:
    """Refuses weights of another network, after which mmengine would go on with random ones.

    A dense network's checkpoint may lack gates and policy. ``model`` may be wrapped, for several
    processes or test-time augmentation. Raises ValueError.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    found = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"checkpoint {path} holds no state_dict; give a network's checkpoint.")
    shapes = {
        str(name).removeprefix("module."): getattr(value, "shape", None)
        for name, value in found.items()
    }
    own = {
        name: parameter.shape
        for name, parameter in model.named_parameters()
        if not {GATE, POLICY} & set(name.split("."))
    }
    fitting = sum(shapes.get(name) == shape for name, shape in own.items())
    if 2 * fitting < len(own):
        raise ValueError(
            f"checkpoint {path} is another network's: of the {len(own)} parameters of "
            f"{type(model).__name__}, {fitting} are in it with their shape; give the checkpoint "
            "that was trained with this config, or its own config."
        )


def build_model(cfg: Config, checkpoint: str | None = None, device: str = "cpu"):
    """The model of a config in evaluation mode, with the checkpoint's weights if one is given.

    Without a checkpoint nothing is downloaded: weights are random. The model gets
    ``dataset_meta``, the classes and colours of the checkpoint or of the config's test set.
    """
    init_default_scope(cfg.get("default_scope", "mmengine"))
    arguments = cfg.model.copy()
    _drop_pretrained(arguments)
    model = revert_sync_batchnorm(MODELS.build(arguments))
    meta: dict[str, Any] = {}
    if checkpoint is not None:
        meta = load_weights(model, checkpoint).get("meta", {}).get("dataset_meta") or {}
    model.dataset_meta = {k.lower(): v for k, v in meta.items()} or dataset_meta(cfg)
    return model.to(device).eval()


def convert_as_asked(
    model, asked: dict[str, Any], trial: bool = True, dense_fallback: bool = False, **defaults
) -> ConversionReport:
    """Converts a model to BlockCopy, or gives its own BlockCopy other settings.

    The stock network takes no frame, for it is blocks that the tools look at.

    Args:
        model: Stock, or with BlockCopy.
        asked: Fields of its config; None stands for what the config says.
        trial: As for `convert_model`.
        dense_fallback: Whether the model's own config may hand frames to the stock network.
        defaults: Fields of the config of a stock model.

    Raises:
        ValueError: For a setting that is not known, or a model with another method.
    """
    config = BlockCopyConfig(**defaults)
    if is_converted(model):
        config = runtime_of(model).config
        if not isinstance(config, BlockCopyConfig):
            raise ValueError(
                f"expected a stock config or one with BlockCopy, got {type(model).method}; name "
                "the stock config that it is made from."
            )
        restore_model(model)
    asked = {name: value for name, value in asked.items() if value is not None}
    if not (dense_fallback and config.dense_fallback):
        asked["dense_fallback"] = False
    try:
        return convert_model(model, replace(config, **asked), trial)
    except KeyError as error:  # an unknown policy
        raise ValueError(error.args[0]) from error


def _drop_pretrained(node: Any) -> None:
    """Takes the addresses of pretrained weights out of a model's config, in place."""
    if isinstance(node, dict):
        if node.get("pretrained") is not None:
            node["pretrained"] = None
        init = node.get("init_cfg")
        if isinstance(init, dict) and init.get("type") == "Pretrained":
            node["init_cfg"] = None
        elif isinstance(init, (list, tuple)):
            node["init_cfg"] = [one for one in init if one.get("type") != "Pretrained"]
        for value in node.values():
            _drop_pretrained(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _drop_pretrained(value)


def dataset_config(cfg: Config) -> dict:
    """The config of the innermost test dataset; {} where there is none."""
    dataset = (cfg.get("test_dataloader") or cfg.get("val_dataloader") or {}).get("dataset", {})
    while "pipeline" not in dataset and ("dataset" in dataset or "datasets" in dataset):
        dataset = dataset["dataset"] if "dataset" in dataset else dataset["datasets"][0]
    return dataset


def dataset_meta(cfg: Config) -> dict:
    """Classes and palette of the config's test set, as far as it names them."""
    dataset = dataset_config(cfg)
    with DATASETS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
        kind = registry.get(dataset["type"]) if "type" in dataset else None
    return {**getattr(kind, "METAINFO", {}), **dataset.get("metainfo", {})}


def pipeline_config(cfg: Config) -> list:
    """The steps from a frame to the network's input.

    Raises:
        ValueError: If the config has none.
    """
    steps = dataset_config(cfg).get("pipeline") or cfg.get("test_pipeline")
    if not steps:
        raise ValueError(
            "the config has no test pipeline; give it test_dataloader.dataset.pipeline or "
            "test_pipeline."
        )
    return steps


def frames_dataset(source: str | os.PathLike, pipeline: list):
    """A dataset of the frames of a video file or of a folder of images."""
    from mmdyn.datasets.frame_folder import FrameFolderDataset
    from mmdyn.datasets.video_file import VideoFileDataset

    source = os.fspath(source)
    if not os.path.exists(source):
        raise FileNotFoundError(f"{source} is missing; give a video file or a folder of images.")
    if os.path.isdir(source):
        return FrameFolderDataset(source, pipeline=pipeline)
    return VideoFileDataset(source, pipeline=pipeline)


@dataclass
class FrameInput:
    """One frame, as it was read and as the network takes it.

    Attributes:
        number: Its place among the frames of the source.
        image: (H, W, 3) uint8, BGR.
        data: For ``model.test_step``.
    """

    number: int
    image: np.ndarray
    data: dict


def read_frames(dataset, limit: int | None = None) -> Iterator[FrameInput]:
    """The frames of a video or a folder, in order; what cannot be read is left out with a warning.

    An image that cannot be read is skipped; a video ends at the first frame that cannot be decoded.
    """
    for number in range(len(dataset) if limit is None else min(limit, len(dataset))):
        try:
            info = dataset.get_data_info(number)
        except OSError as error:
            logger.warning("the video ends early: %s", error)
            return
        try:
            yield _frame_input(dataset, number, info)
        except OSError as error:
            logger.warning("skipped: %s", error)


def _frame_input(dataset, number: int, info: dict) -> FrameInput:
    if "img" in info:
        image = np.asarray(info["img"], np.uint8).copy()
        packed = dataset.pipeline_for(info)(info)
        names = ("video_id", "frame_id", "video_length")
        packed["data_samples"].set_metainfo({k: info[k] for k in names if k in info})
    else:
        packed = dataset.prepare_data(number)
        image = mmcv.imread(info["img_path"])
    return FrameInput(number, image, pseudo_collate([packed]))
