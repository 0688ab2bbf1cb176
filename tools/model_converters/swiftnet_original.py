"""Renames the weights of a published SwiftNet to mmdyn's ``SwiftNetHead`` and encoders.

Reads the three layouts there are: SegBlocks' (``net.*`` and ``policy.*``; ResNet or
EfficientNet-Lite encoder), BlockCopy's (``backbone.*``, ``spp.*``, ``upsample.*``, ``logits.*``)
and the first SwiftNet's (decoder inside ``backbone.*``; use ``skips='pre'``). No policy is
converted.

    python tools/model_converters/swiftnet_original.py SOURCE OUT.pth [--config CONFIG]
"""

import argparse
import pickle
import re
from pathlib import Path

import torch
from torch import Tensor

# What wraps a network.
WRAPPERS = re.compile(r"^(module\.)?(net\.)?")
# Entries that a dense SwiftNet has no use for: classifiers of the encoder, constants of the
# preprocessing, losses, border heads and policies.
UNUSED = re.compile(
    r"^(module\.)?(policy\.|net\.policy\.|criterion\.|border_logits\.|"
    r"(net\.)?backbone\.(fc\.|head\.|img_(mean|std|scale)$))"
)
LAYERS = {
    "expand_conv": "expand.conv", "bn0": "expand.bn", "depthwise_conv": "depthwise.conv",
    "bn1": "depthwise.bn", "project_conv": "project.conv", "bn2": "project.bn",
}  # fmt: skip
# Of a name without its wrapper: pattern, and the name here.
RENAMED = (
    (r"(?:backbone\.)?spp\.spp\.spp_bn\.(.+)", r"decode_head.pyramid.reduce.\1"),
    (r"(?:backbone\.)?spp\.spp\.spp_fuse\.(.+)", r"decode_head.pyramid.blend.\1"),
    (r"(?:backbone\.)?spp\.spp\.spp(\d+)\.(.+)", r"decode_head.pyramid.levels.\1.\2"),
    (r"(?:backbone\.)?upsample\.(\d+)\.bottleneck\.(.+)", r"decode_head.upsamples.\1.skip.\2"),
    (r"(?:backbone\.)?upsample\.(\d+)\.blend_conv\.(.+)", r"decode_head.upsamples.\1.blend.\2"),
    (r"logits\.norm\.(.+)", r"decode_head.norm.\1"),
    (r"logits\.conv\.(.+)", r"decode_head.conv_seg.\1"),
    (r"backbone\.stem\.0\.(.+)", r"backbone.stem.conv.\1"),
    (r"backbone\.stem\.1\.(.+)", r"backbone.stem.bn.\1"),
    (r"(backbone\.(?:conv1|bn1|layer\d+\.\d+\.(?:conv\d|bn\d|downsample\.[01]))\..+)", r"\1"),
)
BLOCK = re.compile(rf"backbone\.blocks\.(\d+)\.(\d+)\._({'|'.join(LAYERS)})\.(.+)")


def renamed(name: str) -> str | None:
    """The name that an entry has here; None if it is not used.

    Raises:
        ValueError: If no published SwiftNet has such an entry.
    """
    if UNUSED.match(name):
        return None
    bare = WRAPPERS.sub("", name)
    if found := BLOCK.fullmatch(bare):
        stage, block, layer, rest = found.groups()
        return f"backbone.stages.{stage}.{block}.layers.{LAYERS[layer]}.{rest}"
    for pattern, replacement in RENAMED:
        if found := re.fullmatch(pattern, bare):
            new = found.expand(replacement)
            # A unit's norm has mmcv's name; the classifier's own is not in a unit.
            is_unit = new.startswith(("decode_head.pyramid.", "decode_head.upsamples."))
            return new.replace(".norm.", ".bn.") if is_unit else new
    raise ValueError(
        f"{name!r} is in no published SwiftNet; expected names such as 'backbone.conv1.weight', "
        "'spp.spp.spp_bn.conv.weight', 'upsample.0.blend_conv.conv.weight' or 'logits.conv.weight'"
    )


def state_dict_of(source: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A published state dict under the names here, and the entries that were left out."""
    state, unused = {}, []
    for name, value in source.items():
        new = renamed(name)
        if new is None:
            unused.append(name)
        elif new in state:
            raise ValueError(f"{name!r} and another entry would both become {new!r}")
        else:
            state[new] = value.float() if value.dtype == torch.float16 else value
    return state, unused


def read(path: Path, trust: bool) -> dict[str, Tensor]:
    """The state dict in a checkpoint file, wherever in it."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; name a published checkpoint")
    try:
        found = torch.load(path, map_location="cpu", weights_only=not trust)
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        if trust or not isinstance(error, pickle.UnpicklingError):
            raise ValueError(f"{path} cannot be read ({said}); is the file whole?") from error
        raise ValueError(
            f"{path} holds more than tensors or is broken ({said}); if you trust its source, let "
            "it run its code with --trust"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise ValueError(f"{path} holds no state dict; expected names of weights with tensors")
    return found


def verify(config: str, state: dict[str, Tensor]) -> None:
    """Loads the weights strictly into the network of a config."""
    from mmdyn.engine.inference import build_model, read_config

    build_model(read_config(config)).load_state_dict(state, strict=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="checkpoint of a published SwiftNet")
    parser.add_argument("out", type=Path, help="checkpoint to write")
    parser.add_argument("--config", help="load the result strictly into this config's network")
    parser.add_argument(
        "--trust", action="store_true", help="the source may run code of its own while it is read"
    )
    args = parser.parse_args()
    try:
        state, unused = state_dict_of(read(args.source, args.trust))
        if args.config:
            verify(args.config, state)
    except (OSError, ValueError, RuntimeError) as error:
        raise SystemExit(f"swiftnet_original.py: {error}") from error
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=state), args.out)
    print(f"wrote {args.out}: {len(state)} entries; left out: {', '.join(unused) or 'none'}")


if __name__ == "__main__":
    main()
