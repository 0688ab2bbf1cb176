"""Turns MOTChallenge sequences into one COCO video json of persons.

    python tools/dataset_converters/mot2coco.py data/mot15/TUD-Stadtmitte data/mot15/PETS09-S2L1 \\
        --out data/mot15/annotations/val.json --image-root data/mot15 --frames-to data/mot15_frames

A sequence is a folder with ``gt/gt.txt`` and ``img1/``, or with a video in place of ``img1/``,
whose frames are then written below ``--frames-to``.
"""

from __future__ import annotations

import argparse

from tqdm import tqdm

from mmdyn.datasets.mot import mot_to_coco


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sequences", nargs="+", help="folders of sequences")
    parser.add_argument("--out", required=True, help="the json to write")
    parser.add_argument(
        "--image-root", required=True, help="folder that the json's file names are relative to"
    )
    parser.add_argument("--frames-to", help="where the frames of videos are written")
    parser.add_argument(
        "--part", type=float, nargs=2, default=(0.0, 1.0), metavar="SHARE",
        help="where to begin and to end in each sequence, 0 to 1",
    )  # fmt: skip
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    counts = mot_to_coco(
        args.sequences, args.out, args.image_root, args.frames_to,
        lambda x: tqdm(x, unit="frame"), tuple(args.part),
    )  # fmt: skip
    print(f"wrote {args.out}: " + ", ".join(f"{n} {name}" for name, n in counts.items()))


if __name__ == "__main__":
    main()
