"""MGAN as mmdet's detector: losses, targets, gradients, mixed precision, overfitting."""

import pytest

pytest.importorskip("mmdet.models")

import torch
from mmengine.structures import InstanceData

from mmdyn.metrics.miss_rate_curve import SUBSETS, Found, Truth, miss_rates
from tests.models.mgan.networks import batch_of, sample_of, small_mgan, street


def losses_of(model, *samples) -> dict:
    model.train()
    batch = model.data_preprocessor(batch_of(*samples), training=True)
    return model.loss(batch["inputs"], batch["data_samples"])


def total(losses: dict) -> torch.Tensor:
    return sum(sum(x) if isinstance(x, list) else x for k, x in losses.items() if "loss" in k)


def test_losses_and_gradients_reach_every_parameter():
    model = small_mgan()
    model.init_weights()
    losses = losses_of(model, sample_of(0), sample_of(1))
    assert {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "loss_attention"} <= set(
        losses
    )
    total(losses).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    attention = model.roi_head.attention
    assert all(p.grad.abs().sum() > 0 for p in attention.parameters())


def test_the_masks_loss_is_that_of_the_positive_proposals_visible_shares():
    head = small_mgan().roi_head
    whole = torch.tensor([[0.0, 0.0, 14.0, 28.0]])
    truth = InstanceData(visible_bboxes=torch.tensor([[0.0, 0.0, 14.0, 14.0]]))

    class Sampled:
        pos_priors, neg_priors = whole, torch.zeros(2, 4)
        pos_assigned_gt_inds = torch.tensor([0])

    logits = torch.full((6, 1, 7, 7), -20.0)
    logits[3, 0, :3], logits[0, 0, :3] = 20.0, 20.0
    for k in (0, 3):
        logits[k, 0, 3] = 0.0  # the row that is half visible
    loss = head.attention_loss(logits, [Sampled, Sampled], [truth, truth])
    half = torch.tensor(2.0).log() / 7  # one row of seven at log 2, the others right
    torch.testing.assert_close(loss, 0.5 * half, atol=1e-5, rtol=1e-4)
    logits[1], logits[2] = 20.0, 20.0  # negatives have no say
    torch.testing.assert_close(head.attention_loss(logits, [Sampled] * 2, [truth] * 2), loss)


def test_images_without_people_have_a_mask_loss_of_zero():
    model = small_mgan()
    losses = losses_of(model, sample_of(0, people=0))
    assert losses["loss_attention"] == 0
    total(losses).backward()


def test_training_without_visible_boxes_says_what_to_do():
    with pytest.raises(KeyError, match="PackVisibleBoxes"):
        losses_of(small_mgan(), sample_of(0, visible=False))


def test_a_mask_head_is_refused():
    with pytest.raises(ValueError, match="mask_head"):
        small_mgan(mask_head=dict(type="FCNMaskHead"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_trains_and_predicts(dtype):
    model = small_mgan()
    model.init_weights()
    with torch.autocast("cpu", dtype=dtype):
        losses = losses_of(model, sample_of(0))
    total(losses).backward()
    assert torch.isfinite(total(losses))
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    model.eval()
    with torch.autocast("cpu", dtype=dtype), torch.no_grad():
        found = model.test_step(batch_of(sample_of(0)))
        batch = model.data_preprocessor(batch_of(sample_of(0)))
        scores, deltas = model.rpn_head(model.extract_feat(batch["inputs"]))
    assert scores[0].dtype == deltas[0].dtype == torch.float32
    assert found[0].pred_instances.bboxes.dtype == torch.float32


def test_a_mask_that_is_closed_hides_the_proposal():
    model = small_mgan().eval()
    head = model.roi_head
    x, rois = (torch.randn(1, 64, 12, 16),), torch.tensor([[0.0, 8, 8, 40, 80]])
    with torch.no_grad():
        head.attention.conv_logits.weight.zero_()
        head.attention.conv_logits.bias.fill_(-100.0)
        closed = head._bbox_forward(x, rois)
        head.attention.conv_logits.bias.fill_(100.0)
        open_ = head._bbox_forward(x, rois)
    assert closed["bbox_feats"].abs().max() < 1e-6
    torch.testing.assert_close(open_["bbox_feats"], head.bbox_roi_extractor(x, rois))


def miss_rate_on(model, seeds) -> float:
    images = []
    model.eval()
    for seed in seeds:
        with torch.no_grad():
            found = model.test_step(batch_of(sample_of(seed)))[0].pred_instances
        _, whole, part = street(seed)
        boxes, parts = (
            torch.cat([x[:, :2], x[:, 2:] - x[:, :2]], 1).double() for x in (whole, part)
        )
        visible = (parts[:, 2:].prod(1) / boxes[:, 2:].prod(1)).numpy()
        truth = Truth(boxes.numpy(), boxes[:, 3].numpy(), visible, visible < 0)
        corners = found.bboxes.double()
        corners = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
        images.append((truth, Found.best(corners.numpy(), found.scores.double().numpy(), 1000)))
    return miss_rates(images, {"All": SUBSETS["All"]})["All"].value


def test_it_learns_a_handful_of_images_by_heart():
    torch.manual_seed(0)
    model = small_mgan()
    model.init_weights()
    seeds = range(4)
    before = miss_rate_on(model, seeds)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(120):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - step / 120)
        losses = losses_of(model, *(sample_of(seed) for seed in seeds))
        optimizer.zero_grad()
        total(losses).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    assert before > 0.5
    assert miss_rate_on(model, seeds) < 0.02
    assert losses["loss_attention"] < 0.5 * 0.25
