"""The comparison of a network with its dense self: passes what is right and sees what is wrong."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import nn

from mmdyn.blocks.dispatch import RULES
from mmdyn.conversion import is_converted
from mmdyn.conversion.hosts import parity, zoo
from mmdyn.conversion.hosts.decisions import keep_proposals, same_choices
from mmdyn.video import FeatureMemory
from tests.conversion.hosts import BLOCK, KINDS, SIZE, Plain, build, call_of

every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_a_network_equals_its_dense_self(kind):
    model = build(kind)
    found = parity.measure(model, SIZE, BLOCK)
    assert not found.faults and is_converted(model)
    assert found.error_all <= 1e-5 and found.error_some <= 1e-5 and found.error_none == 0.0
    assert found.sparse_mac_share == 1.0 and found.ms > 0


def test_a_networks_own_rounding_is_told_and_excuses_nothing():
    made = parity.Parity(1.4e-4, 0.0, 7e-5, 7e-5, 1.0, [], 1.0)
    assert made.faults and not made.remark
    made.rounding = 1.1e-4
    assert made.faults and "move by 1.1e-04" in made.remark


def each_block_alone(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """A convolution that takes zeros for its neighbours."""
    step = stride if isinstance(stride, int) else stride[0]
    return x.map(
        lambda v: F.conv2d(v, weight, bias, stride, padding, dilation, groups),
        (x.block[0] // step, x.block[1] // step),
    )


def wrong_beside_copies(x, inplace=False):
    """Right only where nothing is copied."""
    scale = 1.0 if all(x.frame.grid.complete) else 1.5
    return x.map(lambda v: v.relu() * scale)


def kinds_of(found: parity.Parity) -> set[str]:
    """Which of all, none and some executed blocks were found wrong."""
    return {fault.split()[0] for fault in found.faults} & {"error_all", "error_none", "error_some"}


@every_kind
@pytest.mark.parametrize(
    "function, rule, faults",
    [
        (F.conv2d, each_block_alone, ["error_all", "error_some"]),
        (F.relu, wrong_beside_copies, ["error_some"]),
    ],
)
def test_a_broken_rule_is_seen_where_it_is_wrong(kind, function, rule, faults, monkeypatch):
    model = build(kind)
    monkeypatch.setitem(RULES, function, rule)
    found = parity.measure(model, SIZE, BLOCK)
    assert kinds_of(found) == set(faults)
    for name in faults:
        assert getattr(found, name) > 1e-2 and found.worst[name]


@every_kind
def test_a_memory_that_fades_is_seen(kind, monkeypatch):
    model, maps = build(kind), FeatureMemory.maps
    monkeypatch.setattr(FeatureMemory, "maps", lambda *args: maps(*args).mul_(0.5))
    found = parity.measure(model, SIZE, BLOCK)
    assert kinds_of(found) == {"error_none", "error_some"}


def test_a_rule_that_gives_no_numbers_is_seen(monkeypatch):
    monkeypatch.setitem(RULES, F.relu, lambda x, inplace=False: x.map(lambda v: v / 0 * 0))
    found = parity.measure(Plain().eval(), SIZE, BLOCK)
    assert found.error_all == found.error_some == float("inf") and found.faults


def test_what_runs_dense_is_named_and_not_counted_as_sparse(monkeypatch):
    monkeypatch.delitem(RULES, F.relu)
    found = parity.measure(Plain().eval(), SIZE, BLOCK)
    assert not found.faults and found.dense_ops == ["relu: no rule"]
    halves = [128 * 128 // 4 * 9 * n for n in (3 * 8, 8 * 4)]
    assert found.sparse_mac_share == pytest.approx(halves[0] / sum(halves))


def test_a_stock_network_that_fails_is_told_from_a_wrong_one():
    class Picky(Plain):
        def forward(self, x):
            raise RuntimeError("made for audio")

    with pytest.raises(parity.StockFailure, match="RuntimeError: made for audio"):
        parity.measure(Picky().eval(), SIZE, BLOCK)


def test_what_the_conversion_refuses_is_told_from_a_wrong_network():
    model = build("segmentor", test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(32, 32)))
    with pytest.raises(zoo.Unsupported, match="slide"):
        parity.measure(model, SIZE, BLOCK)
    assert not is_converted(model)


def test_a_deep_network_that_overflows_is_calibrated():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            pairs = [(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)) for _ in range(4)]
            self.layers = nn.Sequential(*(layer for pair in pairs for layer in pair))

        def forward(self, x):
            return self.layers(x)

    model = Deep().eval()
    for layer in model.layers[::2]:
        nn.init.constant_(layer.weight, 1e12)
    assert not torch.isfinite(model(torch.randn(1, 3, *SIZE))).all()
    assert not parity.measure(model, SIZE, BLOCK).faults


def test_the_proposals_of_the_first_frame_are_kept():
    model = build("two stages")
    keep_proposals(model, SIZE)
    (image, samples), kwargs = call_of(model)
    found = []
    with torch.no_grad():
        for batch in (image, torch.randn_like(image)):
            features = model.extract_feat(batch)
            found.append(model.rpn_head.predict(features, samples, rescale=False)[0].bboxes)
    assert len(found[0]) == round(1000 * 128 * 128 / (800 * 1333)) and torch.equal(*found)


def test_the_choices_of_the_first_call_are_kept_and_their_values_are_new():
    first, second = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0])
    model, choices = Plain(), []
    for scores, wanted in ((first, [3.0, 2.0]), (second, [1.0, 3.0])):
        with same_choices(model, choices):
            for top in (torch.topk(scores, 2), scores.topk(2)):
                assert top.indices.tolist() == [0, 2] and top.values.tolist() == wanted
    assert second.topk(2).indices.tolist() == [2, 1]  # and torch's own is back


def test_boxes_that_were_suppressed_first_are_suppressed_again():
    pytest.importorskip("mmdet.models")
    from mmdet.models.dense_heads import base_dense_head

    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30]])
    labels, nms = torch.zeros(3, dtype=torch.long), dict(type="nms", iou_threshold=0.5)
    model, choices = Plain(), []
    for scores in (torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0.7, 0.8, 0.9])):
        with same_choices(model, choices):
            found, kept = base_dense_head.batched_nms(boxes, scores, labels, nms)
        assert kept.tolist() == [0, 2] and torch.equal(found[:, 4], scores[[0, 2]])


def test_a_stock_config_is_built_to_run_alone(tmp_path):
    pytest.importorskip("mmseg")
    _, config = KINDS["segmentor"]
    model = config()
    model.test_cfg = dict(mode="slide", crop_size=(64, 64), stride=(32, 32))
    model.backbone.norm_cfg.type = "SyncBN"
    model.backbone.init_cfg = dict(type="Pretrained", checkpoint="https://nowhere/x.pth")
    path = tmp_path / "net.py"
    Config(dict(model=model, default_scope="mmseg")).dump(path)
    built = zoo.build(str(path))
    assert built.test_cfg.mode == "whole" and not built.training
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in built.modules())
    assert not parity.measure(built, SIZE, BLOCK).faults


def test_random_weights_hide_no_branch():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.full((4,), 1e-6))
            self.gate, self.norm = nn.Parameter(torch.zeros(1)), nn.BatchNorm2d(4)
            self.conv = nn.Conv2d(4, 4, 1)

    model = Scaled()
    before = model.conv.weight.clone()
    zoo.randomise(model)
    assert model.scale.abs().min() > 1e-4 and model.gate.item() == 0.5
    assert model.norm.weight.std() > 0.05 and model.norm.running_var.std() > 0.05
    assert torch.equal(model.conv.weight, before)
