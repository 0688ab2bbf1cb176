"""The YOLOX-nano converter: strict loading into the stock model, identity norms, and refusals."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

ROOT = Path(__file__).parents[2]
ONNX_FILE = (
    Path(os.environ.get("MMDYN_DATA", ROOT.parent / "shared" / "data"))
    / "weights"
    / "yolox_nano_coco.onnx"
)


def _load_tool():
    path = ROOT / "tools" / "model_converters" / "yolox_onnx.py"
    spec = importlib.util.spec_from_file_location("yolox_onnx", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = _load_tool()


@pytest.fixture(scope="module")
def stock_model():
    """mmdet's yolox_nano, built once, with the weights that it was initialised with."""
    pytest.importorskip("mmdet")
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules(init_default_scope=False)
    cfg = Config.fromstring(f"_base_ = {tool.STOCK_CONFIG!r}\n", ".py")
    torch.manual_seed(0)
    return MODELS.build(cfg.model).eval()


@pytest.fixture
def convs(stock_model):
    """What an exporter would leave of the stock model: nameless convs with a bias each."""
    generator = torch.Generator().manual_seed(0)
    modules = dict(stock_model.named_modules())
    result = []
    for name in tool.module_names():
        weight = getattr(modules[name], "conv", modules[name]).weight.detach()
        bias = torch.randn(len(weight), generator=generator)
        result.append(tool.FoldedConv(f"onnx::Conv_{len(result)}", weight.clone(), bias))
    return result


def test_names_cover_every_conv_of_the_stock_model_once(stock_model):
    modules = stock_model.named_modules()
    convs = {n.removesuffix(".conv") for n, m in modules if isinstance(m, torch.nn.Conv2d)}
    names = list(tool.module_names())
    assert len(names) == len(set(names)) == 113
    assert set(names) == convs


def test_state_loads_strictly_and_every_norm_is_the_identity_plus_bias(stock_model, convs):
    state = tool.state_dict_of(convs)
    stock_model.load_state_dict(state, strict=True)
    modules = dict(stock_model.named_modules())
    generator = torch.Generator().manual_seed(1)
    for name, conv in zip(tool.module_names(), convs, strict=True):
        module = modules[name]
        first = getattr(module, "conv", module)
        x = torch.randn(1, first.in_channels, 5, 5, generator=generator)
        expected = F.conv2d(x, conv.weight, conv.bias, first.stride, first.padding, 1, first.groups)
        with torch.no_grad():
            got = module.bn(first(x)) if hasattr(module, "bn") else first(x)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_wrong_number_of_convs_is_refused(convs):
    with pytest.raises(ValueError, match="112 convs, YOLOX-nano has 113"):
        tool.state_dict_of(convs[:-1])


def test_swapped_layers_are_refused(convs):
    convs[1], convs[2] = convs[2], convs[1]
    with pytest.raises(ValueError, match="do not run in YOLOX-nano's order"):
        tool.state_dict_of(convs)


def test_named_predictor_in_the_wrong_place_is_refused(convs):
    last = convs[-1]
    convs[-1] = tool.FoldedConv("head.obj_preds.1.weight", last.weight, last.bias)
    with pytest.raises(ValueError, match="head.obj_preds.1.weight would become .*conv_obj.2"):
        tool.state_dict_of(convs)


def test_reads_convs_in_graph_order_and_refuses_one_without_bias(tmp_path):
    onnx = pytest.importorskip("onnx")
    weights = {"a": torch.randn(2, 3, 1, 1), "b": torch.randn(4, 2, 1, 1)}
    biases = {"a_bias": torch.randn(2), "b_bias": torch.randn(4)}

    def save(path, nodes):
        value = onnx.helper.make_tensor_value_info
        stored = [
            onnx.numpy_helper.from_array(tensor.numpy(), name)
            for name, tensor in (weights | biases).items()
        ]
        ends = ("x", [1, 3, 4, 4]), ("z", [1, 4, 4, 4])
        ends = [[value(name, onnx.TensorProto.FLOAT, shape)] for name, shape in ends]
        onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", *ends, stored)), path)

    node = onnx.helper.make_node
    first = node("Conv", ["x", "a", "a_bias"], ["y"])
    save(tmp_path / "two.onnx", [first, node("Conv", ["y", "b", "b_bias"], ["z"])])
    convs = tool.read_convs(tmp_path / "two.onnx")
    assert [conv.name for conv in convs] == ["a", "b"]
    assert torch.equal(convs[1].weight, weights["b"])
    assert torch.equal(convs[0].bias, biases["a_bias"])
    save(tmp_path / "bare.onnx", [first, node("Conv", ["y", "b"], ["z"], name="late")])
    with pytest.raises(ValueError, match="conv 'late' .* expected a weight and a bias"):
        tool.read_convs(tmp_path / "bare.onnx")


@pytest.mark.skipif(not ONNX_FILE.exists(), reason="needs the published YOLOX-nano weights")
def test_published_weights_give_the_same_raw_outputs():
    pytest.importorskip("onnx")
    pytest.importorskip("mmdet")
    state = tool.state_dict_of(tool.read_convs(ONNX_FILE))
    assert tool.verify(ONNX_FILE, state) <= tool.VERIFY_TOLERANCE
