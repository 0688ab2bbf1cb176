"""Weights of a training, small enough to keep: float16, without optimizer and histories.

    python tools/model_converters/publish.py SOURCE.pth OUT.pth [--drop auxiliary_head]

Statistics of norms, and whatever else is a float, become float16 too; loading gives float32 again.
"""

import argparse
import sys
from pathlib import Path

import torch

from mmdyn.engine.inference import broken_file_named


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="checkpoint of mmengine")
    parser.add_argument("out")
    parser.add_argument("--drop", nargs="*", default=[], help="modules to leave out, by prefix")
    return parser.parse_args(arguments)


def read(path: str) -> dict:
    """A checkpoint.

    Raises:
        ValueError: If the file is none, or broken.
    """
    with broken_file_named(path):
        checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise ValueError(f"{path} is no checkpoint of mmengine: it has no state_dict")
    return checkpoint


def published(checkpoint: dict, drop: list[str]) -> dict:
    """The state dict in float16 and what the data set calls its classes.

    Raises:
        ValueError: If a number is too large for float16, or a prefix names nothing.
    """
    state = checkpoint["state_dict"]
    for prefix in drop:
        if not any(key.startswith(f"{prefix}.") for key in state):
            raise ValueError(f"no weights of '{prefix}' to drop; known: {sorted(_roots(state))}")
    kept = {k: v for k, v in state.items() if not k.startswith(tuple(f"{p}." for p in drop))}
    small = {k: v.half() if v.is_floating_point() else v for k, v in kept.items()}
    for key, value in small.items():
        if not bool(torch.isfinite(value.float()).all()):
            raise ValueError(f"'{key}' has numbers that float16 cannot hold (or NaN)")
    meta = checkpoint.get("meta", {}).get("dataset_meta")
    return dict(state_dict=small, meta={} if meta is None else dict(dataset_meta=meta))


def _roots(state: dict) -> set[str]:
    return {key.split(".")[0] for key in state}


def main(arguments: list[str] | None = None) -> None:
    args = parse_args(arguments)
    if not Path(args.source).is_file():
        sys.exit(f"publish.py: no checkpoint at {args.source}")
    try:
        content = published(read(args.source), args.drop)
    except ValueError as error:
        sys.exit(f"publish.py: {error}")
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, args.out)
    print(f"wrote {args.out}: {Path(args.out).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
