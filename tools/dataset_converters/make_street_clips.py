"""Makes street-like clips with exact labels, in the layouts of Cityscapes and of COCO video.

    python tools/dataset_converters/make_street_clips.py data/street --split val --clips 4

See ``mmdyn.datasets.street_layouts.StreetDataset`` for what is written where.
"""

from __future__ import annotations

import argparse

import cv2
from tqdm import tqdm

from mmdyn.datasets.street_layouts import StreetDataset


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", help="folder to write to")
    parser.add_argument("--split", default="train", help="name of the split")
    parser.add_argument("--clips", type=int, default=4, help="how many clips")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first clip")
    parser.add_argument("--frames", type=int, default=30, help="frames of a clip")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(512, 1024), metavar=("HEIGHT", "WIDTH")
    )
    parser.add_argument("--camera", choices=("moving", "still", "both"), default="both")
    parser.add_argument(
        "--labelled", default="19", help="frames with labels, such as 19 or 4,19 or -1, or 'all'"
    )
    parser.add_argument("--stills", action="store_true", help="make the labelled frames alone")
    parser.add_argument("--video", action="store_true", help="write an mp4 of each clip, too")
    parser.add_argument("--fps", type=float, default=17.0)
    parser.add_argument("--jobs", type=int, default=1, help="processes that paint")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cv2.setNumThreads(1)
    labelled = None if args.labelled == "all" else [int(k) for k in args.labelled.split(",")]
    dataset = StreetDataset(
        args.root,
        args.split,
        size=tuple(args.size),
        frames=args.frames,
        cameras=("moving", "still") if args.camera == "both" else (args.camera,),
        labelled=labelled,
        stills=args.stills,
        video=args.video,
        fps=args.fps,
    )
    seeds = range(args.seed, args.seed + args.clips)
    path = dataset.write(
        seeds, args.jobs, lambda clips, count: tqdm(clips, total=count, unit="clip")
    )
    print(f"wrote {args.clips} clips to {args.root}; boxes and masks are in {path}")


if __name__ == "__main__":
    main()
