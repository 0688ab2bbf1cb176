"""Writes the frames of a video as numbered images.

python tools/dataset_converters/extract_frames.py clip.mp4 frames/clip
"""

from __future__ import annotations

import argparse

from tqdm import tqdm

from mmdyn.datasets.frame_reader import extract_frames


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", help="the video file")
    parser.add_argument("folder", help="where to write")
    parser.add_argument("--name", default="{:06d}.png", help="file name; .png keeps every bit")
    parser.add_argument("--first", type=int, default=0, help="number of the first frame")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    paths = extract_frames(
        args.video, args.folder, args.name, args.first, lambda x: tqdm(x, unit="frame")
    )
    print(f"{len(paths)} frames in {args.folder}")


if __name__ == "__main__":
    main()
