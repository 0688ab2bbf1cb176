"""Draws where a gated network computes, on images of its test set.

    python tools/density_maps.py CONFIG CHECKPOINT [CONFIG CHECKPOINT ...] --out PICTURE.png

One row of images, and below it one row of densities for each pair: blue where few of the blocks
compute a pixel, red where all do. The gates' thresholds are the checkpoints'.
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np
import torch
from common.arguments import count
from common.comparing import one_line_errors
from mmengine.registry import DATASETS

from mmdyn.conversion import is_converted, runtime_of
from mmdyn.conversion.dynconv_runtime import DynConvRuntime
from mmdyn.engine.inference import build_model, read_config
from mmdyn.visualization import add_title, compose_sheet, density_map, draw_density


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="CONFIG CHECKPOINT")
    parser.add_argument("--out", required=True, help="the picture")
    parser.add_argument("--count", type=count, default=12, help="images")
    parser.add_argument("--side", type=count, default=128, help="pixels of one image on the sheet")
    args = parser.parse_args()
    if len(args.pairs) % 2:
        parser.error("give a checkpoint after each config")
    return args


@torch.no_grad()
def densities(config: str, checkpoint: str, count: int) -> tuple[list, list, float]:
    """Images (H, W, 3) BGR, their densities, and the share executed on them."""
    cfg = read_config(config)
    model = build_model(cfg, checkpoint).eval()
    if not isinstance(runtime_of(model) if is_converted(model) else None, DynConvRuntime):
        raise SystemExit(f"{config} has no gates: density maps are of mmdyn.DynConv's networks")
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    items = [dataset[k] for k in range(min(count, len(dataset)))]
    runtime = runtime_of(model)
    runtime.keep_masks = True
    inputs = torch.stack([item["inputs"] for item in items])
    model.extract_feat(model.data_preprocessor(dict(inputs=inputs), False)["inputs"])
    found = density_map(runtime.masks.values(), tuple(inputs.shape[2:])).numpy()
    settings = cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    if not (settings.get("bgr_to_rgb") or settings.get("to_rgb")):
        inputs = inputs.flip(1)  # they are RGB already
    images = [np.ascontiguousarray(x.numpy().transpose(1, 2, 0)) for x in inputs]
    return images, list(found), runtime.stats["executed_share"]


def main() -> None:
    args = parse_args()

    def large(image):
        return cv2.resize(image, (args.side, args.side), interpolation=cv2.INTER_NEAREST)

    rows, words = [], []
    for config, checkpoint in zip(args.pairs[::2], args.pairs[1::2]):
        with one_line_errors():
            images, found, share = densities(config, checkpoint, args.count)
        if not rows:
            rows.append([add_title(large(image), "image", size=11) for image in images])
        rows.append(
            [
                add_title(draw_density(large(image), large(d), 0.75), f"{d.mean():.0%}", size=11)
                for image, d in zip(images, found)
            ]
        )
        words.append(f"row {len(rows)}: {share:.1%} of the arithmetic on these images")
    sheet = compose_sheet(rows, "Where the gated blocks compute", "; ".join(words) + ".")
    if not cv2.imwrite(args.out, sheet):
        raise SystemExit(f"{args.out} could not be written")


if __name__ == "__main__":
    main()
