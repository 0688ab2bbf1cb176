"""The names of the published SwiftNets become those of the networks here, each exactly once."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
EFFICIENTNET = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def _load_tool():
    path = ROOT / "tools" / "model_converters" / "swiftnet_original.py"
    spec = importlib.util.spec_from_file_location("swiftnet_original", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = _load_tool()


def pair(name: str, norm: str, conv: str, features: int, weight: tuple, bias: bool = False):
    """Entries of a norm and a convolution."""
    entries = {f"{name}{norm}.{k}": torch.rand(features) for k in ("weight", "bias")}
    entries |= {f"{name}{norm}.running_{k}": torch.rand(features) for k in ("mean", "var")}
    entries[f"{name}{norm}.num_batches_tracked"] = torch.tensor(3)
    entries[f"{name}{conv}.weight"] = torch.rand(weight)
    if bias:
        entries[f"{name}{conv}.bias"] = torch.rand(weight[0])
    return entries


def decoder(stages: list[int], width: int, classes: int, inside: str = "") -> dict:
    """SPP, upsamplings (inside another module, if it is named) and logits, as published."""
    level = width // 3
    units = {
        f"{inside}spp.spp.spp_bn.": (stages[-1], width, 1),
        **{f"{inside}spp.spp.spp{i}.": (width, level, 1) for i in range(3)},
        f"{inside}spp.spp.spp_fuse.": (width + 3 * level, width, 1),
    }
    for i, skip in enumerate(reversed(stages[:-1])):
        units[f"{inside}upsample.{i}.bottleneck."] = (skip, width, 1)
        units[f"{inside}upsample.{i}.blend_conv."] = (width, width, 3)
    entries = {}
    for name, (features, out, k) in units.items():
        entries |= pair(name, "norm", "conv", features, (out, features, k, k))
    return entries | pair("logits.", "norm", "conv", width, (classes, width, 1, 1), bias=True)


def resnet18() -> dict:
    entries = pair("", "bn1", "conv1", 64, (64, 3, 7, 7))
    before = 64
    for stage, width in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name = f"layer{stage}.{block}."
            entries |= pair(name, "bn1", "conv1", width, (width, before, 3, 3))
            entries |= pair(name, "bn2", "conv2", width, (width, width, 3, 3))
            if before != width:
                shape = (width, before, 1, 1)
                entries |= pair(f"{name}downsample.", "1", "0", width, shape)
            before = width
    return entries


def efficientnet_lite1() -> dict:
    entries = pair("stem.", "1", "0", 32, (32, 3, 3, 3))
    before = 32
    stages = ((1, 3, 1, 16), (3, 3, 6, 24), (3, 5, 6, 40), (4, 3, 6, 80), (4, 5, 6, 112),
              (5, 5, 6, 192), (1, 3, 6, 320))  # fmt: skip
    for stage, (blocks, k, expansion, width) in enumerate(stages):
        for block in range(blocks):
            hidden, name = before * expansion, f"blocks.{stage}.{block}."
            shapes = {"expand": (hidden, before, 1, 1), "depthwise": (hidden, 1, k, k)}
            shapes["project"] = (width, hidden, 1, 1)
            if expansion == 1:
                del shapes["expand"]
            for layer, shape in shapes.items():
                conv, norm = EFFICIENTNET[layer]
                entries |= pair(name, norm, conv, shape[0], shape)
            before = width
    entries |= pair("head.", "1", "0", 1280, (1280, 320, 1, 1))
    return entries | {"fc.weight": torch.rand(4, 1280), "fc.bias": torch.rand(4)}


def prefixed(prefix: str, entries: dict) -> dict:
    return {prefix + name: value for name, value in entries.items()}


RESNET18 = [64, 128, 256, 512]


def segblocks() -> dict:
    net = prefixed("backbone.", resnet18()) | decoder(RESNET18, 128, 19)
    policy = pair("policy.policy_net.layers.", "1", "0", 64, (64, 3, 7, 7))
    return prefixed("net.", net) | policy


def segblocks_efficientnet() -> dict:
    net = prefixed("backbone.", efficientnet_lite1()) | decoder([24, 40, 112, 320], 48, 19)
    return prefixed("module.net.", net)


def blockcopy() -> dict:
    return prefixed("backbone.", resnet18()) | decoder(RESNET18, 128, 19)


def first_swiftnet() -> dict:
    constants = {f"img_{k}": torch.rand(1, 3, 1, 1) for k in ("mean", "std")}
    net = prefixed("backbone.", resnet18() | constants)
    return net | decoder(RESNET18, 128, 19, inside="backbone.")


@pytest.mark.parametrize(
    "layout, encoder, left_out",
    [
        (segblocks, "r18", r"policy\.policy_net\.layers\..*"),
        (segblocks_efficientnet, "effl1", r"module\.net\.backbone\.(head|fc)\..*"),
        (blockcopy, "r18", "none of them"),
        (first_swiftnet, "r18", r"backbone\.img_(mean|std)"),
    ],
)
def test_layout_loads_strictly(layout, encoder, left_out):
    pytest.importorskip("mmseg")
    from tests.models.swiftnet.networks import swiftnet

    source = layout()
    state, unused = tool.state_dict_of(source)
    swiftnet(encoder).load_state_dict(state, strict=True)
    assert all(re.fullmatch(left_out, name) for name in unused)
    assert len(state) + len(unused) == len(source)
    assert bool(unused) == (left_out != "none of them")


def test_values_go_where_they_belong():
    source = segblocks()
    state, _ = tool.state_dict_of(source)
    pairs = {
        "net.backbone.layer2.0.downsample.1.bias": "backbone.layer2.0.downsample.1.bias",
        "net.spp.spp.spp2.norm.weight": "decode_head.pyramid.levels.2.bn.weight",
        "net.spp.spp.spp_fuse.conv.weight": "decode_head.pyramid.blend.conv.weight",
        "net.upsample.0.bottleneck.conv.weight": "decode_head.upsamples.0.skip.conv.weight",
        "net.upsample.2.blend_conv.norm.bias": "decode_head.upsamples.2.blend.bn.bias",
        "net.logits.norm.bias": "decode_head.norm.bias",
        "net.logits.conv.bias": "decode_head.conv_seg.bias",
    }
    for old, new in pairs.items():
        assert state[new] is source[old], new


def test_half_precision_becomes_float():
    state, _ = tool.state_dict_of({"logits.conv.weight": torch.ones(2, 2, 1, 1).half()})
    assert state["decode_head.conv_seg.weight"].dtype == torch.float32


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="'backbone.layer1.0.se.weight' is in no published"):
        tool.state_dict_of({"backbone.layer1.0.se.weight": torch.ones(1)})
    twice = {"net.logits.conv.bias": torch.ones(1), "logits.conv.bias": torch.ones(1)}
    with pytest.raises(ValueError, match="would both become 'decode_head.conv_seg.bias'"):
        tool.state_dict_of(twice)
    torch.save(dict(state_dict=3), tmp_path / "a.pth")
    with pytest.raises(ValueError, match="holds no state dict"):
        tool.read(tmp_path / "a.pth", trust=False)


def test_code_in_a_checkpoint_is_not_run_unasked(tmp_path):
    path = tmp_path / "a.pth"
    torch.save(dict(state_dict=blockcopy(), config=Path("x")), path)
    with pytest.raises(ValueError, match="holds more than tensors .*--trust"):
        tool.read(path, trust=False)
    assert "logits.conv.bias" in tool.read(path, trust=True)


def test_a_file_that_is_not_there_is_no_reason_to_trust_it(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x", str(tmp_path / "no.pth"), str(tmp_path / "out.pth")])
    with pytest.raises(SystemExit, match="there is no file .*no.pth") as ended:
        tool.main()
    assert "--trust" not in str(ended.value)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("content", [b"", b"hello\n"])
def test_a_broken_file_is_no_reason_to_trust_it(tmp_path, content, trust):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ValueError, match="is the file whole"):
        tool.read(tmp_path / "x.pth", trust)
