"""Stock configs as networks with random weights: one a family, nothing downloaded."""

from __future__ import annotations

import importlib.util
import re
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from torch import nn

from mmdyn import compat
from mmdyn.conversion.config import BlockCopyConfig
from mmdyn.conversion.hosts.openmmlab import host_for

PACKAGES = ("mmdet", "mmseg")

# Folders that hold no family of networks, but parts of configs and descriptions of datasets.
NO_FAMILY = {"_base_", "common", "dsdl", "misc"}

# Folders whose configs are of several families or do not show the folder's own: files by pattern.
CHOSEN = {
    "mmdet": {
        "bytetrack": ["bytetrack_*"],
        "cascade_rcnn": ["cascade-rcnn_r18*", "cascade-mask-rcnn_r50_fpn_1x_*"],
        "cascade_rpn": ["cascade-rpn_faster-rcnn_*"],
        "centernet": ["centernet_r18_*", "centernet-update_r18_*"],
        "dcn": ["faster-rcnn_r50-dconv-*", "faster-rcnn_*dpool*"],
        "dcnv2": ["faster-rcnn_r50-mdconv-c3*"],
        "guided_anchoring": ["ga-retinanet_r50_*", "ga-faster-rcnn_r50_*"],
        "hrnet": ["faster-rcnn_hrnetv2p-w18-1x*", "htc_hrnetv2p-w18*"],
        "mask2former": ["mask2former_r50*"],
        "libra_rcnn": ["libra-retinanet_r50*", "libra-faster-rcnn_r50*"],
        "nas_fcos": ["*fcoshead*", "*nashead*"],
        "nas_fpn": ["*nasfpn*"],
        "rtmdet": ["rtmdet_tiny*", "rtmdet-ins_tiny*"],
        "sabl": ["sabl-retinanet_r50_*", "sabl-faster-rcnn_r50*"],
        "solo": ["solo_r18*", "decoupled-solo-light*"],
        "ssd": ["ssdlite*", "ssd300*"],
        "strongsort": ["strongsort_*"],
        "yolo": ["yolov3_mobilenetv2_8xb24-320*", "yolov3_d53_8xb8-320*"],
    },
    "mmseg": {
        "fcn": ["fcn_r18*", "fcn-d6_r50*"],
        "knet": ["*r50-d8_fcn*"],
        "mask2former": ["*r50*"],
        "maskformer": ["*r50*"],
        "ocrnet": ["ocrnet_hr18s_4xb4-80k_*", "ocrnet_r101-d8_4xb2*"],
        "swin": ["swin-tiny*in1k*"],
        "unet": ["*_fcn_*64x64*", "*_deeplabv3_*64x64*"],
    },
}

# Words of file names from cheap to dear; the first that fits gives the rank.
_COSTS = (
    (0, r"r18|nano|tiny|d53|mobilenet|-b0|400mf|[-_]t[-_]|[-_]s[-_]"),
    (1, r"r50|s50|hr18|w18|res2net"),
    (3, r"r101|s101|101|w40|w48|hr48|64x4d|large|-l[-_]|-x_|-h_"),
)


def config_root(package: str) -> Path:
    """The folder of a package's stock configs.

    Raises:
        ModuleNotFoundError: If the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"expected {package} to be installed for its stock configs; install {package} or name "
            "config files"
        )
    return Path(spec.origin).parent / ".mim" / "configs"


def _cost(path: Path) -> tuple[int, int, str]:
    rank = next((rank for rank, words in _COSTS if re.search(words, path.name)), 2)
    return rank, len(path.name), path.name


def representatives(package: str) -> list[str]:
    """One config a family, 'mmdet::folder/name.py'.

    Of a folder's configs with a model: the one that names the smallest backbone, then the shortest
    name; in folders of several families the one so found for each pattern of `CHOSEN`.
    """
    found = []
    root = config_root(package)
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and p.name not in NO_FAMILY):
        for pattern in CHOSEN[package].get(folder.name, ["*"]):
            paths = sorted(folder.glob(f"{pattern}.py"), key=_cost)
            path = next((p for p in paths if _has_model(p)), None)
            if path is not None:
                found.append(f"{package}::{folder.name}/{path.name}")
    return found


def _has_model(path: Path) -> bool:
    try:
        cfg = Config.fromfile(path, import_custom_modules=False)
    except Exception:  # a broken base of one config must not end the search
        return False
    return "type" in cfg.get("model", {})


def resolve(name: str) -> Path:
    """A config's file, given by its path or as 'package::folder/file.py'."""
    package, _, rest = name.rpartition("::")
    path = config_root(package) / rest if package else Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"expected a config file, got {name!r}; {path} does not exist")
    return path


def preload(names: list[str]) -> None:
    """Imports the packages of the named configs, so that forked processes need not."""
    for package in PACKAGES:
        if any(package in name for name in names) and importlib.util.find_spec(package):
            importlib.import_module(f"{package}.models")


class Unsupported(ValueError):
    """The conversion refuses the network by name."""


def refuse(kind: nn.Module | type) -> None:
    """Raises Unsupported for a model, or a class, that the conversion refuses."""
    host = host_for(kind)
    try:
        host.check_class(kind) if isinstance(kind, type) else host.check(kind)
    except ValueError as error:
        raise Unsupported(str(error)) from error


def build(name: str) -> nn.Module:
    """The config's model in evaluation mode, with random weights that hide no branch."""
    path = resolve(name)
    package = next((p for p in PACKAGES if name.startswith(f"{p}::") or p in path.parts), None)
    compat.prepare()
    try:
        cfg = Config.fromfile(path)
    except ImportError as error:  # of what the config's custom_imports name
        raise ImportError(_import_that_failed(error)) from error
    scope = cfg.get("default_scope") or package or "mmdet"
    importlib.import_module(f"{scope}.models")
    init_default_scope(scope)
    from mmengine.registry import MODELS

    model_cfg = _local(_without_line(cfg.model))
    with MODELS.switch_scope_and_registry(scope) as registry:
        known = registry.get(model_cfg["type"])
    if known is not None:
        refuse(known)
    teacher = model_cfg.get("teacher_config")
    if isinstance(teacher, str) and teacher.startswith("configs/"):
        model_cfg.teacher_config = str(config_root(scope) / teacher.removeprefix("configs/"))
    test_cfg = model_cfg.get("test_cfg")
    if isinstance(test_cfg, dict) and test_cfg.get("mode") == "slide":
        test_cfg["mode"] = "whole"
    torch.manual_seed(0)
    model = MODELS.build(model_cfg)
    model.eval()
    randomise(model)
    return model


def _without_line(model: dict) -> dict:
    """The stock model of a config with BlockCopy's line in it; others as they are."""
    if model["type"] != "mmdyn.BlockCopy":
        return model
    own = {f.name for f in fields(BlockCopyConfig)} | {"type", "host"}
    rest = {name: value for name, value in model.items() if name not in own}
    return ConfigDict(type=model.get("host"), **rest)


def _import_that_failed(error: BaseException) -> str:
    """The first of a chain of failed imports: later ones name what it stopped."""
    while isinstance(cause := error.__cause__ or error.__context__, ImportError):
        error = cause
    return str(error)


def _local(node):
    """The config without what is fetched or needs several processes."""
    if isinstance(node, dict):
        for key in ("pretrained", "init_cfg", "teacher_ckpt"):
            if key in node:
                node[key] = None
        if node.get("type") in ("SyncBN", "MMSyncBN"):
            node["type"] = "BN"
        for value in node.values():
            _local(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _local(value)
    return node


@torch.no_grad()
def randomise(model: nn.Module) -> None:
    """Statistics of norms and parameters that start constant get noise: a scale of zero or 1e-6
    would hide its whole branch."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if getattr(module, "weight_gamma", None) is not None:  # standardised weights, at unit gain
            module.weight_gamma.fill_(module.weight[0].numel() ** -0.5)
        if type(module).__name__ == "EmbeddingRPNHead":  # boxes of positive size
            module.init_weights()
    for parameter in model.parameters():
        flat = parameter.flatten()
        if not flat.numel() or not parameter.is_floating_point() or bool((flat != flat[0]).any()):
            continue
        value = float(flat[0])
        if abs(value) <= 1e-3:
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 25
            parameter.normal_(0, 0.5 * fan_in**-0.5) if flat.numel() > 1 else parameter.fill_(0.5)
        elif flat.numel() > 1 and value == 1.0:
            parameter.uniform_(0.5, 1.5)


@contextmanager
def calibrated(model: nn.Module):
    """While it lasts, batch norms take the statistics of what they see, and keep them: a deep
    network of unscaled random weights would overflow."""

    def take(norm: nn.Module, args: tuple) -> None:
        dims = [d for d in range(args[0].dim()) if d != 1]
        if args[0].numel() > 4 * args[0].shape[1] and bool(torch.isfinite(args[0]).all()):
            var, mean = torch.var_mean(args[0], dims)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(var.maximum(var.mean()))

    norms = [
        module for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None
    ]  # fmt: skip
    handles = [norm.register_forward_pre_hook(take) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
