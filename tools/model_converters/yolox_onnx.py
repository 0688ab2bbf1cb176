"""A YOLOX ONNX file (batch norm folded into the convs) -> a checkpoint for mmdet's stock YOLOX.

The networks are the same; only the names are lost: exporters fold the batch norms and number the
convs in the order in which they ran. So the n-th conv of the graph is given to the n-th module of
the published network's forward order, and its batch norm becomes the identity with the folded bias.
The checkpoint is meant for inference: its batch norms hold no statistics of any data, so freeze
them (``eval``) when training goes on from it.

    python tools/model_converters/yolox_onnx.py yolox_nano.onnx work_dirs/yolox_nano.pth --verify

needs ``pip install onnx``; ``--verify`` also runs both networks on noise and compares them.
Input of both: BGR, 0 to 255, no mean or scale, letterboxed to the top left with 114.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

# mmdet's YOLOX builds every batch norm with this epsilon.
BN_EPS = 1e-3
VERIFY_TOLERANCE = 1e-4
STOCK_CONFIG = "mmdet::yolox/yolox_nano_8xb8-300e_coco.py"


class FoldedConv(NamedTuple):
    """One conv of the graph: the weight's name in the file, (O, I / groups, k, k) and (O,)."""

    name: str
    weight: Tensor
    bias: Tensor


def read_convs(path: str | Path) -> list[FoldedConv]:
    """The convs of an ONNX file, in the order of its graph.

    Raises:
        ModuleNotFoundError: The ``onnx`` package is not installed.
        ValueError: A conv has no stored weight or no bias, so nothing was folded into it.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}: reading {path} needs the onnx package; run `pip install onnx`"
        ) from error
    graph = onnx.load(str(path)).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    convs = []
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        names = list(node.input[1:])
        if len(names) != 2 or not set(names) <= set(stored):
            raise ValueError(
                f"conv {node.name!r} of {path} has the stored inputs {names}, expected a weight "
                "and a bias; export the network in eval mode, with constant folding"
            )
        # A copy, because onnx hands out read-only arrays.
        weight, bias = (
            torch.tensor(onnx.numpy_helper.to_array(stored[name])).float() for name in names
        )
        convs.append(FoldedConv(names[0], weight, bias))
    return convs


def module_names(blocks: tuple[int, ...] = (1, 3, 3, 1), neck_blocks: int = 1) -> Iterator[str]:
    """mmdet's names of the depthwise YOLOX's convs, in the published network's forward order.

    Args:
        blocks: Bottlenecks of the four stages of the backbone.
        neck_blocks: Bottlenecks of each of the neck's four CSP layers.
    """

    def separable(name: str) -> Iterator[str]:
        yield f"{name}.depthwise_conv"
        yield f"{name}.pointwise_conv"

    def csp(name: str, count: int) -> Iterator[str]:
        yield f"{name}.main_conv"
        yield f"{name}.short_conv"
        for index in range(count):
            yield f"{name}.blocks.{index}.conv1"
            yield from separable(f"{name}.blocks.{index}.conv2")
        yield f"{name}.final_conv"

    yield "backbone.stem.conv"
    for stage, count in enumerate(blocks, start=1):
        yield from separable(f"backbone.stage{stage}.0")
        if stage == len(blocks):
            yield f"backbone.stage{stage}.1.conv1"
            yield f"backbone.stage{stage}.1.conv2"
        yield from csp(f"backbone.stage{stage}.{2 if stage == len(blocks) else 1}", count)
    for index in range(2):
        yield f"neck.reduce_layers.{index}"
        yield from csp(f"neck.top_down_blocks.{index}", neck_blocks)
    for index in range(2):
        yield from separable(f"neck.downsamples.{index}")
        yield from csp(f"neck.bottom_up_blocks.{index}", neck_blocks)
    for level in range(3):
        yield f"neck.out_convs.{level}"
        for branch in ("cls", "reg"):
            for index in range(2):
                yield from separable(f"bbox_head.multi_level_{branch}_convs.{level}.{index}")
            yield f"bbox_head.multi_level_conv_{branch}.{level}"
        yield f"bbox_head.multi_level_conv_obj.{level}"


def state_dict_of(convs: list[FoldedConv]) -> dict[str, Tensor]:
    """The checkpoint's weights: convs under mmdet's names, each batch norm the identity plus bias.

    Raises:
        ValueError: The convs are not those of the depthwise YOLOX (count, kind or named predictor).
    """
    names = list(module_names())
    if len(convs) != len(names):
        raise ValueError(
            f"the file has {len(convs)} convs, YOLOX-nano has {len(names)}; "
            "this tool converts yolox_nano only"
        )
    state = {}
    for name, conv in zip(names, convs, strict=True):
        _check_place(name, conv)
        if ".multi_level_conv_" in name:
            state[f"{name}.weight"], state[f"{name}.bias"] = conv.weight, conv.bias
        else:
            state[f"{name}.conv.weight"] = conv.weight
            state |= {f"{name}.bn.{key}": value for key, value in _identity_bn(conv.bias).items()}
    return state


def _identity_bn(bias: Tensor) -> dict[str, Tensor]:
    ones = torch.ones_like(bias)
    return dict(
        weight=ones,
        bias=bias,
        running_mean=torch.zeros_like(bias),
        running_var=ones - BN_EPS,
        num_batches_tracked=torch.tensor(0),
    )


def _check_place(name: str, conv: FoldedConv) -> None:
    """What the file says about a conv must agree with the place it is given."""
    depthwise = tuple(conv.weight.shape[1:]) == (1, 3, 3)
    if depthwise != name.endswith("depthwise_conv"):
        kind = "a depthwise" if depthwise else "no depthwise"
        raise ValueError(
            f"{conv.name} {tuple(conv.weight.shape)} is {kind} conv but would become {name}; "
            "the file's layers do not run in YOLOX-nano's order"
        )
    # Predictors have no batch norm, so exporters keep their names.
    for kind in ("cls", "reg", "obj"):
        if f"{kind}_preds." in conv.name:
            level = conv.name.split(f"{kind}_preds.")[1].split(".")[0]
            if name != f"bbox_head.multi_level_conv_{kind}.{level}":
                raise ValueError(
                    f"{conv.name} would become {name}; "
                    "the file's layers do not run in YOLOX-nano's order"
                )


def stock_outputs(state: dict[str, Tensor], image: Tensor, config: str = STOCK_CONFIG) -> Tensor:
    """mmdet's stock network, strictly loaded, on an image (1, 3, H, W), in the image's precision.

    Returns:
        (1, cells of all levels, 4 + 1 + classes): raw box, objectness and class probabilities, the
        layout of the ONNX file's output.
    """
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules(init_default_scope=False)
    # Config.fromfile reads files only; another package's config can be named as a base.
    cfg = Config.fromstring(f"_base_ = {config!r}\n", ".py")
    model = MODELS.build(cfg.model).eval()
    model.load_state_dict(state, strict=True)
    model.to(image.dtype)
    with torch.no_grad():
        levels = zip(*model(image, mode="tensor"), strict=True)
        rows = [torch.cat([box, obj.sigmoid(), cls.sigmoid()], 1) for cls, box, obj in levels]
    return torch.cat([row.flatten(2) for row in rows], 2).transpose(1, 2)


def onnx_outputs(path: str | Path, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A random image of the graph's own input size and the graph's output for it, in float64.

    In float64 because two correct float32 runs of this network differ by up to 2e-4 already.
    """
    import numpy as np
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(str(path))
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    names = {name for node in convs for name in node.input[1:]}
    for tensor in model.graph.initializer:
        if tensor.name in names:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    shape = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim]
    image = torch.rand(shape, generator=torch.Generator().manual_seed(seed)).double() * 255
    # The reference evaluator's sigmoid overflows on the branch that it then discards.
    with np.errstate(over="ignore", invalid="ignore"):
        feeds = {model.graph.input[0].name: image.numpy()}
        outputs = ReferenceEvaluator(model).run(None, feeds)
    return image, torch.from_numpy(outputs[0])


def verify(path: str | Path, state: dict[str, Tensor]) -> float:
    """Largest absolute difference between the ONNX graph's and the stock network's raw outputs."""
    image, expected = onnx_outputs(path)
    return float((stock_outputs(state, image) - expected).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("onnx", type=Path, help="the ONNX file of YOLOX-nano")
    parser.add_argument("checkpoint", type=Path, help="the checkpoint to write (.pth)")
    parser.add_argument(
        "--verify",
        action="store_true",
        help=f"run both networks and fail when they differ by more than {VERIFY_TOLERANCE}",
    )
    args = parser.parse_args()
    state = state_dict_of(read_convs(args.onnx))
    if args.verify:
        difference = verify(args.onnx, state)
        print(f"largest difference to {args.onnx.name}: {difference:.1e}")
        if not difference <= VERIFY_TOLERANCE:
            raise SystemExit(
                f"expected at most {VERIFY_TOLERANCE}, got {difference:.1e}: {args.checkpoint} was "
                "not written; the file is not the network that mmdet calls yolox_nano"
            )
    args.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(meta=dict(), state_dict=state), args.checkpoint)
    print(f"wrote {args.checkpoint} ({len(state)} tensors)")


if __name__ == "__main__":
    main()
