"""Turns the Penn-Fudan pedestrians into COCO-style jsons with visible boxes.

    python tools/dataset_converters/pennfudan2coco.py data/pennfudan --out work_dirs/pennfudan

writes ``train.json`` and ``val.json``; their file names are relative to the given folder.
"""

from __future__ import annotations

import argparse
import os

from mmdyn.datasets.pennfudan import pennfudan_to_coco


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", help="folder with Annotation, PedMasks and images")
    parser.add_argument("--out", required=True, help="folder for the jsons")
    parser.add_argument(
        "--val-every", type=int, default=5, help="every so many stills are for validation (5)"
    )
    parser.add_argument("--category", default="person", help="name of category 1 (person)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    parts = pennfudan_to_coco(args.root, args.val_every, args.category)
    for name, coco in zip(("train", "val"), parts, strict=True):
        path = os.path.join(args.out, f"{name}.json")
        coco.save(path)
        print(f"wrote {path}: {len(coco.images)} images, {len(coco.annotations)} people")


if __name__ == "__main__":
    main()
