"""Turns Caltech Pedestrian's annotations into one COCO-style json with visible boxes.

    python tools/dataset_converters/caltech2coco.py all.json --sets set06 --out test.json

The annotations are the json made of the .vbb files, or a folder of bbGt text files. Images are
images of videos in it: ``video_id`` and ``frame_id``.
"""

from __future__ import annotations

import argparse

from mmdyn.datasets.pedestrians import caltech_to_coco


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", help="json of the .vbb files, or a folder of bbGt files")
    parser.add_argument("--out", required=True, help="the json to write")
    parser.add_argument("--sets", nargs="*", default=(), help="such as set06 (all)")
    parser.add_argument("--every", type=int, default=30, help="every so many frames (30)")
    parser.add_argument(
        "--file-format", default="{group}_{video}_{frame}.png",
        help="name of an image ({group}_{video}_{frame}.png)",
    )  # fmt: skip
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    coco = caltech_to_coco(args.annotations, tuple(args.sets), args.every, args.file_format)
    coco.save(args.out)
    print(f"wrote {args.out}: {len(coco.images)} images, {len(coco.annotations)} people")


if __name__ == "__main__":
    main()
