"""Published names become mmdyn's; another network's file is refused."""

import pytest
import torch

from mmdyn.models.classification import CIFARResNet
from tools.model_converters.cifar_resnet import convert_names, main, read_state


def published(depth=8):
    net = CIFARResNet(depth, shortcut="pad")
    state = {f"module.{k}": v for k, v in net.state_dict().items()}
    state["module.linear.weight"] = torch.randn(10, 64)
    state["module.linear.bias"] = torch.randn(10)
    return net, state


def test_names_fit_the_network(tmp_path):
    from mmengine.registry import MODELS

    net, state = published()
    torch.save(dict(state_dict=state, best_prec1=92.7), tmp_path / "x.th")
    model = MODELS.build(
        dict(
            type="mmdyn.ImageClassifier",
            backbone=dict(type="mmdyn.CIFARResNet", depth=8, shortcut="pad"),
            neck=dict(type="mmdyn.GlobalAveragePooling"),
            head=dict(type="mmdyn.LinearClsHead", num_classes=10, in_channels=64),
        )
    )
    model.load_state_dict(convert_names(read_state(tmp_path / "x.th")), strict=True)
    assert torch.equal(model.backbone.layer3[0].conv2.weight, net.layer3[0].conv2.weight)
    assert torch.equal(model.head.fc.bias, state["module.linear.bias"])


def test_another_network_is_refused():
    with pytest.raises(ValueError, match="another network"):
        convert_names({"features.0.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is the file whole"), (b"hello\n", "is the file whole"), ([1, 2], "no state dict")],
)
def test_what_is_no_checkpoint_is_refused_in_a_line(tmp_path, content, words, monkeypatch):
    source = tmp_path / "x.th"
    source.write_bytes(content) if isinstance(content, bytes) else torch.save(content, source)
    monkeypatch.setattr("sys.argv", ["cifar_resnet.py", str(source), str(tmp_path / "out.pth")])
    with pytest.raises(SystemExit, match=words):
        main()
