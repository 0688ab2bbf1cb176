"""Turns CityPersons' annotations into one COCO-style json with visible boxes and ignored people.

    python tools/dataset_converters/citypersons2coco.py anno_val.mat --out val_gt.json
    python tools/dataset_converters/citypersons2coco.py gtBboxCityPersons/val --out val_gt.json

File names in the json are relative to ``leftImg8bit/<split>``.
"""

from __future__ import annotations

import argparse
import os

from mmdyn.datasets.citypersons_files import read_folder, read_mat


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", help="anno_*.mat, or a split's folder of jsons")
    parser.add_argument("--out", required=True, help="the json to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    read = read_folder if os.path.isdir(args.annotations) else read_mat
    coco = read(args.annotations)
    coco.save(args.out)
    ignored = sum(a["ignore"] for a in coco.annotations)
    print(
        f"wrote {args.out}: {len(coco.images)} images, {len(coco.annotations) - ignored} "
        f"pedestrians, {ignored} ignored"
    )


if __name__ == "__main__":
    main()
