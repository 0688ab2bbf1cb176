"""What the benchmarks time: stock networks up to their heads, and dense baselines."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

import mmdyn.compat


def load_model(path: str, options: dict | None = None) -> nn.Module:
    """A config's model with random weights; batch norm without synchronisation."""
    mmdyn.compat.prepare()
    cfg = read_config(path)
    cfg.merge_from_dict(options or {})
    scope = cfg.get("default_scope", "mmdet")
    init_default_scope(scope)
    __import__(f"{scope}.models")
    model = cfg.model
    if model.get("host"):
        raise ValueError(f"{path} has mmdyn's line in it; name the stock config it is made from")
    _strip(model)
    return MODELS.build(model)


def read_config(path: str) -> Config:
    if "::" not in path:
        return Config.fromfile(path)
    from mmengine.hub import get_config

    return get_config(path)


def _strip(cfg) -> None:
    """No downloads, and a norm that runs in one process."""
    if isinstance(cfg, dict):
        cfg.pop("pretrained", None)
        if cfg.get("init_cfg") is not None:
            cfg["init_cfg"] = None
        if cfg.get("type") == "SyncBN":
            cfg["type"] = "BN"
        for value in cfg.values():
            _strip(value)
    elif isinstance(cfg, (list, tuple)):
        for value in cfg:
            _strip(value)


class DenseCore(nn.Module):
    """Everything of a detector or segmentor that is convolutional: backbone, neck, dense heads.

    Returns the head's maps and, where RoI heads follow, the features that they read. Of decode
    heads in a cascade each gets the features and the map of the one before.

    Raises:
        ValueError: If one of them works on points and not on maps.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        head = next(
            getattr(model, n) for n in ("decode_head", "rpn_head", "bbox_head", "mask_head")
            if getattr(model, n, None) is not None
        )  # fmt: skip
        self.heads = head if isinstance(head, nn.ModuleList) else nn.ModuleList([head])
        for one in self.heads:
            if hasattr(one, "get_points_test"):
                raise ValueError(
                    f"{type(one).__name__} refines single points, which no block holds; benchmark "
                    "the network without it, or time it whole with tools/compare_video.py"
                )

    def forward(self, image: Tensor):
        features = self.model.extract_feat(image)
        out = self.heads[0].forward(features)
        for head in self.heads[1:]:
            out = head.forward(features, out)
        return (out, tuple(features)) if hasattr(self.model, "roi_head") else out


def dense_core(model: nn.Module) -> DenseCore:
    return DenseCore(model)


class PrepackedConv2d(nn.Conv2d):
    """A convolution whose weight oneDNN reordered for one input size."""

    def forward(self, x: Tensor) -> Tensor:
        packed = self.__dict__.setdefault("_packed", {})
        args = (self.padding, self.stride, self.dilation, self.groups)
        if x.shape not in packed:
            weight = self.weight.contiguous(memory_format=torch.channels_last)
            packed[x.shape] = torch.ops.mkldnn._reorder_convolution_weight(
                weight, *args, list(x.shape)
            )
        return torch.ops.mkldnn._convolution_pointwise(
            x, packed[x.shape], self.bias, *args, "none", [], ""
        )


def fused(core: nn.Module) -> nn.Module:
    """A copy with batch norm folded into the convolutions and, on a CPU, weights prepacked."""
    core = fuse_conv_bn(copy.deepcopy(core))
    for module in core.modules():
        plain = type(module) is nn.Conv2d and module.padding_mode == "zeros"
        if plain and not isinstance(module.padding, str) and module.weight.device.type == "cpu":
            module.__class__ = PrepackedConv2d
    return core


def baselines(core: nn.Module, frame: Tensor, skip: list[str]) -> dict[str, Callable]:
    """The dense baselines, each tried once; one that does not run is left out and named."""
    import torch._inductor.config as inductor

    eager = copy.deepcopy(core)
    makers = {
        "eager": lambda: eager,
        "fused": lambda: fused(core),
        "compile": lambda: torch.compile(copy.deepcopy(core), dynamic=False),
    }
    found = {}
    for name, make in makers.items():
        if name in skip:
            continue
        try:
            with torch.no_grad(), inductor.patch(freezing=True):
                call = make()
                call(frame)
            found[name] = call
        except Exception as error:
            if name == "eager":
                raise
            print(f"baseline '{name}' does not run here: {type(error).__name__}: {error}"[:300])
    return found


def moving_frames(
    shape: list[int], dtype: torch.dtype, device: str, count: int = 4
) -> list[Tensor]:
    """A still picture with a bright square that moves: what a policy gets to see."""
    generator = torch.Generator().manual_seed(0)
    still = torch.randn(shape, generator=generator)
    side = max(shape[2] // 8, 8)
    frames = []
    for i in range(count):
        frame = still.clone()
        left = (shape[3] - side) * i // count
        frame[:, :, side : 2 * side, left : left + side] += 2.0
        frame = frame.to(device, dtype).contiguous(memory_format=torch.channels_last)
        frames.append(frame)
    return frames
