"""CSP's head in mmdet's detector: cost, losses, decoding, precision, and the batch."""

import pytest
import torch
from torch import nn

pytest.importorskip("mmdet")

from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mmdyn.engine.inference import read_config
from mmdyn.models.csp import CSPHead
from mmdyn.models.csp.targets import csp_targets, stack_targets

TEST = dict(
    nms_pre=100, min_bbox_size=0, score_thr=0.1, nms=dict(type="nms", iou_threshold=0.5),
    max_per_img=20,
)  # fmt: skip
NORM = dict(type="GN", num_groups=2)


def small_head(**options) -> CSPHead:
    from mmengine.config import ConfigDict

    head = CSPHead(6, 8, norm_cfg=NORM, test_cfg=ConfigDict(TEST), **options)
    head.init_weights()
    return head


def truth(*boxes: list[float]) -> InstanceData:
    rows = torch.tensor(boxes).reshape(-1, 4)
    return InstanceData(bboxes=rows, labels=torch.zeros(len(rows), dtype=torch.long))


PEOPLE = ([20.0, 20, 40, 68.7805], [60.0, 40, 76.4, 80], [90.0, 90, 98.2, 110])
META = dict(img_shape=(128, 128), ori_shape=(64, 64), scale_factor=(2.0, 2.0))


def perfect(head: CSPHead, *images: InstanceData, **options) -> tuple[list, list, list]:
    """The outputs that say exactly what the targets say."""
    maps = stack_targets(
        [csp_targets(t.bboxes, t.labels, None, (32, 32), width=head.predict_width) for t in images]
    )
    return [((maps.center == 1).float() - 0.5) * 30], [maps.scale], [maps.offset]


def macs(model: nn.Module, size: tuple[int, int]) -> dict[str, float]:
    """Multiply-accumulates in G by part, of convolutions, nothing being computed."""
    count: dict[str, float] = {}

    def add(name):
        def hook(module, args, out):
            places = args[0] if isinstance(module, nn.ConvTranspose2d) else out
            part = ".".join(name.split(".")[: 2 if name.startswith("bbox_head") else 1])
            count[part] = count.get(part, 0) + (
                places.shape[0] * places.shape[2] * places.shape[3] * module.weight.numel() / 1e9
            )

        return hook

    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_hook(add(name))
    model.to("meta")(torch.empty(1, 3, *size, device="meta"), mode="tensor")
    return count


def test_cost_of_csp_r50_is_exact():
    cfg = read_config("configs/_base_/models/csp_r50.py")
    init_default_scope("mmdet")
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).eval()
    count = macs(model, (1024, 2048))
    assert sum(count.values()) == pytest.approx(1128.20, abs=0.01)
    assert count["backbone"] == pytest.approx(259.41, abs=0.01)
    assert count["neck"] == pytest.approx(171.80, abs=0.01)
    assert count["bbox_head.towers"] == pytest.approx(695.78, abs=0.01)
    outputs = (
        sum(v for k, v in count.items() if k.startswith("bbox_head")) - count["bbox_head.towers"]
    )
    assert outputs == pytest.approx(1.21, abs=0.01)


@pytest.mark.parametrize("width", [False, True])
def test_perfect_outputs_give_the_boxes_back(width):
    head = small_head(predict_width=width)
    images = truth(*PEOPLE), truth(PEOPLE[1]), truth()
    outputs = perfect(head, *images)
    found = head.predict_by_feat(*outputs, [META] * 3)
    assert [len(f) for f in found] == [3, 1, 0]
    for expected, result in zip(images, found):
        order = result.bboxes[:, 0].argsort()
        torch.testing.assert_close(result.bboxes[order], expected.bboxes, atol=0.05, rtol=1e-3)
        assert (result.scores > 0.99).all()
    (halved, _, _) = head.predict_by_feat(*outputs, [META] * 3, rescale=True)
    torch.testing.assert_close(
        halved.bboxes[halved.bboxes[:, 0].argsort()], images[0].bboxes / 2, atol=0.05, rtol=1e-3
    )


def test_perfect_outputs_cost_nothing_and_others_do():
    head = small_head()
    outputs = perfect(head, truth(*PEOPLE), truth())
    losses = head.loss_by_feat(*outputs, [truth(*PEOPLE), truth()], [META] * 2)
    assert sorted(losses) == ["loss_center", "loss_offset", "loss_scale"]
    assert sum(losses.values()) < 1e-5
    moved = [truth(*[[v + 5 for v in box] for box in PEOPLE]), truth()]
    worse = head.loss_by_feat(*outputs, moved, [META] * 2)
    assert all(worse[name] > 1e-3 for name in losses)


def test_ignored_regions_excuse_a_false_centre():
    head = small_head()
    outputs = perfect(head, truth(*PEOPLE))
    ignored = InstanceData(bboxes=torch.tensor([PEOPLE[2]]))
    args = [truth(*PEOPLE[:2])], [META]
    excused = head.loss_by_feat(*outputs, *args, [ignored])
    assert excused["loss_center"] < 1e-5
    assert head.loss_by_feat(*outputs, *args, None)["loss_center"] > 1e-2


def samples(*images: InstanceData) -> list[DetDataSample]:
    return [DetDataSample(gt_instances=t, metainfo=META) for t in images]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("width", [False, True])
def test_gradients_reach_every_weight_and_are_finite(shared, width):
    head = small_head(shared_tower=shared, predict_width=width)
    tiny = [50.0, 50, 50.6, 51.2]
    x = (torch.randn(3, 6, 32, 32),)
    losses = head.loss(x, samples(truth(*PEOPLE, tiny), truth(), truth(PEOPLE[0])))
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_a_batch_of_empty_images_trains():
    head = small_head()
    losses = head.loss((torch.randn(2, 6, 32, 32),), samples(truth(), truth()))
    sum(losses.values()).backward()
    assert losses["loss_scale"] == 0 and losses["loss_offset"] == 0 and losses["loss_center"] > 0
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


def test_mixed_precision_trains_alike():
    head, x = small_head(), (torch.randn(2, 6, 32, 32),)
    data = samples(truth(*PEOPLE), truth(PEOPLE[0]))
    exact = head.loss(x, data)
    with torch.autocast("cpu", torch.bfloat16):
        rough = head.loss(x, data)
        sum(rough.values()).backward()
    for name, value in rough.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, exact[name], rtol=0.05, atol=1e-3)
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_suppression_and_limits_come_from_the_test_cfg():
    head = small_head()
    outputs = perfect(head, truth(*PEOPLE))
    center = outputs[0][0]
    best = (center[0, 0] > 0).nonzero()[0]
    center[0, 0, best[0], best[1] + 1] = 2.0  # beside a centre, less sure: suppressed
    outputs[1][0][0, 0, best[0], best[1] + 1] = outputs[1][0][0, 0, best[0], best[1]]
    assert len(head.predict_by_feat(*outputs, [META])[0]) == 3
    assert len(head.predict_by_feat(*outputs, [META], with_nms=False)[0]) == 4
    head.test_cfg.score_thr = 1.0
    assert len(head.predict_by_feat(*outputs, [META])[0]) == 0


@pytest.mark.parametrize("wrong", [dict(stride=0), dict(scale_radius=-1), dict(aspect=0.0)])
def test_numbers_that_make_no_boxes_are_refused(wrong):
    with pytest.raises(ValueError, match="expected stride >= 1"):
        small_head(**wrong)


def test_centres_start_unlikely():
    center, _, _ = small_head()((torch.randn(1, 6, 16, 16),))
    assert float(center[0].detach().sigmoid().mean()) == pytest.approx(0.01, abs=0.003)
