"""Renames the weights of a Pedestron CSP checkpoint to those of configs/csp.

Takes ``epoch_N.pth`` as well as ``epoch_N.pth.stu``, the moving average of the weights, which is
the one to test with. Backbone names are mmdet's, then as now.

    python tools/model_converters/csp_pedestron.py epoch_72.pth.stu csp_r50.pth
"""

import argparse
import re
from pathlib import Path

import torch

PARTS = ("center", "scale", "offset")
# Of the old name, and what it is now; the first that matches counts.
RENAMED = (
    (r"backbone\.(.+)", r"backbone.\1"),
    (r"neck\.p([345])_l2\.weight", lambda m: f"neck.norms.{int(m[1]) - 3}.weight"),
    (r"neck\.p([345])\.(weight|bias)", lambda m: f"neck.deconvs.{int(m[1]) - 3}.{m[2]}"),
    (r"bbox_head\.cls_convs\.0\.(.+)", r"bbox_head.towers.center.\1"),
    (r"bbox_head\.reg_convs\.0\.(.+)", r"bbox_head.towers.scale.\1"),
    (r"bbox_head\.offset_convs\.0\.(.+)", r"bbox_head.towers.offset.\1"),
    (r"bbox_head\.csp_cls\.(.+)", r"bbox_head.center.\1"),
    (r"bbox_head\.csp_reg\.(.+)", r"bbox_head.scale.\1"),
    (r"bbox_head\.csp_offset\.(.+)", r"bbox_head.offset.\1"),
    (r"bbox_head\.reg_scales\.0\.scale", "bbox_head.scale_gain.scale"),
    (r"bbox_head\.offset_scales\.0\.scale", "bbox_head.offset_gain.scale"),
)
NEEDED = (
    "backbone.conv1.", *(f"backbone.layer{i}." for i in range(1, 5)),
    *(f"neck.{part}.{i}." for part in ("deconvs", "norms") for i in range(3)),
    *(f"bbox_head.towers.{part}.{layer}." for part in PARTS for layer in ("conv", "gn")),
    *(f"bbox_head.{part}." for part in PARTS),
    "bbox_head.scale_gain.", "bbox_head.offset_gain.",
)  # fmt: skip


def rename(name: str) -> str | None:
    """The weight's name here; None for one that is not known."""
    name = name.removeprefix("module.")
    for pattern, new in RENAMED:
        match = re.fullmatch(pattern, name)
        if match:
            return new(match) if callable(new) else match.expand(new)
    return None


def convert(checkpoint: dict) -> dict[str, torch.Tensor]:
    """The renamed state dict of a loaded checkpoint, with or without a ``state_dict`` level.

    Raises:
        ValueError: If a weight is not one of CSP's, or a part of CSP is missing.
    """
    state = checkpoint.get("state_dict", checkpoint)
    names = {old: rename(old) for old in state if isinstance(state[old], torch.Tensor)}
    unknown = sorted(old for old, new in names.items() if new is None)
    if unknown:
        raise ValueError(
            f"{len(unknown)} weights are none of Pedestron's CSP: {', '.join(unknown[:5])}; is it "
            "a CSP checkpoint (configs/elephant/*/csp_r50.py) with one convolution a tower?"
        )
    converted = {new: state[old].clone() for old, new in names.items()}
    missing = [p for p in NEEDED if not any(name.startswith(p) for name in converted)]
    if missing:
        raise ValueError(
            f"expected weights named {', '.join(f'{p}*' for p in missing)} after renaming, got "
            f"{len(converted)} others; give a whole detector's checkpoint"
        )
    return converted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="epoch_N.pth or epoch_N.pth.stu")
    parser.add_argument("out", type=Path, help="checkpoint to write")
    parser.add_argument(
        "--trust", action="store_true", help="unpickle a file that holds more than tensors"
    )
    args = parser.parse_args()
    loaded = torch.load(args.checkpoint, map_location="cpu", weights_only=not args.trust)
    state = convert(loaded)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=dict(classes=("person",)))), args.out)
    print(f"wrote {len(state)} weights to {args.out}")


if __name__ == "__main__":
    main()
