"""Turns published weights of CIFAR ResNets (option A shortcuts) into a checkpoint of mmdyn.

    python tools/model_converters/cifar_resnet.py cifar10_resnet32-d509ac18.th \\
        work_dirs/pretrained/resnet32_cifar10.pth

The source is a pickle of ``state_dict`` whose names begin with ``module.`` and whose classifier is
``linear``. Only tensors and plain values are unpickled.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from mmdyn import compat
from mmdyn.engine.inference import broken_file_named


def convert_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names of mmdyn's ``ImageClassifier`` with a ``CIFARResNet`` and a ``LinearClsHead``."""
    renamed = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        prefix = "head.fc." if name.startswith("linear.") else "backbone."
        renamed[prefix + name.removeprefix("linear.")] = value
    if "backbone.conv1.weight" not in renamed or "head.fc.weight" not in renamed:
        raise ValueError(
            f"expected conv1.weight and linear.weight among the names, got {sorted(state)[:3]}…; "
            "the file holds another network."
        )
    return renamed


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a file that may also hold a training state.

    Raises:
        ValueError: If it holds none, or is broken.
    """
    compat.allow_checkpoint_logs()
    with broken_file_named(path):
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds no state dict; expected names of weights with tensors")
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the published .th file")
    parser.add_argument("out", type=Path, help="checkpoint to write (.pth)")
    args = parser.parse_args()
    try:
        state = convert_names(read_state(args.source))
    except (OSError, ValueError) as error:
        sys.exit(f"tools/model_converters/cifar_resnet.py: {error}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=state), args.out)
    print(f"wrote {args.out}: {len(state)} tensors")


if __name__ == "__main__":
    main()
