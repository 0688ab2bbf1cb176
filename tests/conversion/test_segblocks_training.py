"""SegBlocks in training: mmseg's losses through blocks, and the policy's beside them."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmdyn import restore_model
from mmdyn.blocks import Level
from mmdyn.conversion import runtime_of
from mmdyn.conversion.hosts.pixel_loss import main_losses, watch_losses
from mmdyn.conversion.segblocks_runtime import untouched
from tests.conversion.segmentors import batch, build, converted, losses_of, total


def assert_same(got: torch.Tensor, wanted: torch.Tensor, what: str = "") -> None:
    scale = wanted.detach().abs().max().clamp(min=1e-3)
    assert float((got - wanted).detach().abs().max()) <= 1e-4 * scale, what


def force(model: nn.Module, cells: torch.Tensor) -> None:
    """Makes the next call of a model run these cells at full resolution."""
    one_by_one = iter(cells.float())
    model.block_policy.scores = lambda image, size, gain=None: next(one_by_one)[None]


def test_all_full_trains_like_the_stock_network():
    """Losses, gradients, batch norm's statistics, and the weights after three steps.

    In float64: in float32 a ReLU whose input is nearly zero may open in one of the two.
    """
    stock, mine = build().double(), converted(policy="all-full").double()
    optimizers = [torch.optim.SGD(m.parameters(), 0.05, momentum=0.9) for m in (stock, mine)]
    for step in range(3):
        wanted, got = losses_of(stock, step), losses_of(mine, step)
        assert float(got.pop("full_share")) == 1.0
        assert list(got) == list(wanted)
        for name, value in wanted.items():
            assert_same(got[name], value, name)
        for losses, optimizer in ((wanted, optimizers[0]), (got, optimizers[1])):
            optimizer.zero_grad()
            total(losses).backward()
        for (name, p), q in zip(stock.named_parameters(), mine.parameters(), strict=True):
            assert_same(q.grad, p.grad, name)
        for optimizer in optimizers:
            optimizer.step()
    for name, value in stock.state_dict().items():
        assert_same(mine.state_dict()[name].float(), value.float(), name)


def test_gradients_reach_every_weight_of_network_and_policy():
    model = converted()
    model.block_policy.net.correct.weight.data.normal_()
    losses = losses_of(model)
    assert {"decode.loss_ce", "loss_policy", "full_share", "policy_gain"} <= set(losses)
    assert float(losses["full_share"]) == 0.5
    total(losses).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and bool(p.grad.isfinite().all()), name
        assert bool(p.grad.any()) or name.endswith("bias"), name


def test_the_networks_loss_has_no_gradient_to_the_policy():
    model = converted()
    losses = losses_of(model)
    losses["decode.loss_ce"].backward()
    assert all(p.grad is None for p in model.block_policy.parameters())


def test_the_gain_is_the_loss_at_half_less_the_loss_as_it_ran(monkeypatch):
    model, seen = converted(), {}

    def remember(logits, perturbed, executed, gain):
        seen.update(executed=executed, gain=gain)
        return dict(loss_policy=logits.sum() * 0.0)

    monkeypatch.setattr(model.block_policy, "loss", remember)
    before = copy.deepcopy(model)
    losses_of(model)
    levels = runtime_of(model).last_frame.grid.levels
    assert torch.equal(seen["executed"], levels == Level.FULL)
    twin = restore_model(before)
    wanted = []
    for policy in ("all-half", None):
        other = converted(copy.deepcopy(twin), policy=policy or "random")
        if policy is None:
            force(other, seen["executed"])
        data = batch()
        with torch.no_grad(), watch_losses(other) as maps:
            other(**data, mode="loss")
        wanted.append(F.adaptive_avg_pool2d(sum(maps)[:, None], levels.shape[1:])[:, 0])
    assert torch.allclose(seen["gain"], wanted[0] - wanted[1], atol=1e-5)
    assert bool(seen["gain"].abs().max() > 1e-3)


def test_the_pass_at_half_resolution_leaves_no_trace():
    """Statistics, counters and random numbers are as if there had been one pass."""
    learned, fixed = converted(build(dropout_ratio=0.3)), converted(build(dropout_ratio=0.3))
    losses_of(learned)
    levels = runtime_of(learned).last_frame.grid.levels
    fixed.block_policy.learns = False
    force(fixed, levels == Level.FULL)
    losses_of(fixed)
    for name, value in fixed.state_dict().items():
        if not name.startswith("block_policy."):
            assert torch.equal(learned.state_dict()[name], value), name
    norm = nn.BatchNorm2d(2)
    with untouched(norm):
        norm(torch.randn(2, 2, 4, 4)), torch.rand(3)
    assert int(norm.num_batches_tracked) == 0 and not bool(norm.running_mean.any())


@pytest.mark.parametrize(
    "loss",
    [
        dict(type="CrossEntropyLoss"),
        dict(type="CrossEntropyLoss", class_weight=[0.3, 1.7], loss_weight=0.4),
        dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ],
)
def test_the_loss_per_pixel_is_the_heads_own(loss):
    model = build(loss_decode=loss)
    with watch_losses(model) as maps:
        try:
            wanted = losses_of(model)["decode.loss_ce"]
        except IndexError:  # mmseg 1.2.2 looks up the weight of class 255
            pytest.skip("this mmseg cannot weigh classes where pixels are ignored")
    (per_pixel,) = maps
    assert per_pixel.shape == (2, 64, 96) and not per_pixel.requires_grad
    assert not bool(per_pixel[:, :4].any())  # ignored
    weights = torch.tensor(loss.get("class_weight", [1.0, 1.0]))
    label = torch.cat([s.gt_sem_seg.data for s in batch()["data_samples"]])
    pixels = weights[(label % 254).clamp(max=1)]  # ignored ones weigh as mmseg has it
    pixels = pixels[:, 4:] if "avg_non_ignore" in loss or "class_weight" in loss else pixels
    assert torch.allclose(per_pixel.sum() / pixels.sum(), wanted)
    assert all(not m._forward_hooks for _, losses in main_losses(model) for m in losses)


def test_losses_that_have_no_value_per_pixel_fall_back_to_cross_entropy_and_say_so(caplog):
    model = converted(build(loss_decode=dict(type="DiceLoss", use_sigmoid=False)))
    with caplog.at_level("WARNING"):
        for _ in range(2):
            losses = losses_of(model)
    assert "loss_policy" in losses and "decode.loss_dice" in losses
    said = [r.message for r in caplog.records if "DiceLoss" in r.message]
    assert len(said) == 1 and "plain cross-entropy" in said[0]


def test_several_losses_add_up():
    ce = dict(type="CrossEntropyLoss", loss_name="loss_a")
    model = build(loss_decode=[ce, dict(ce, loss_name="loss_b", loss_weight=0.5)])
    with watch_losses(model) as maps:
        losses_of(model)
    assert len(maps) == 2 and torch.allclose(maps[1], maps[0] * 0.5)


def test_crops_that_blocks_do_not_divide_are_padded_with_ignored_pixels():
    model, data = converted(policy="all-full"), batch(size=(56, 80))
    labels = [s.gt_sem_seg.data.clone() for s in data["data_samples"]]
    metas = [dict(s.metainfo) for s in data["data_samples"]]
    got = model(**data, mode="loss")["decode.loss_ce"]
    for sample, label, meta in zip(data["data_samples"], labels, metas, strict=True):
        assert torch.equal(sample.gt_sem_seg.data, label) and dict(sample.metainfo) == meta
    stock, given = build(), batch(size=(56, 80))
    plain = stock(**batch(size=(56, 80)), mode="loss")["decode.loss_ce"]
    logits = build()(F.pad(given["inputs"], (0, 16, 0, 8)), mode="tensor")
    scale = 64 // logits.shape[2]
    logits = logits[:, :, : -(-56 // scale), : -(-80 // scale)]
    wanted = stock.decode_head.loss_by_feat(logits, given["data_samples"])["loss_ce"]
    assert_same(got, wanted)
    assert float(got) == pytest.approx(float(plain), rel=0.05)  # the padding's share is 0.3


def test_boundaries_are_no_class_logits_and_binary_heads_have_their_own_entropy():
    binary = dict(type="DiceLoss", use_sigmoid=True)
    model = build(loss_decode=binary, num_classes=2, out_channels=1, threshold=0.3)
    with watch_losses(model) as maps:
        losses_of(model)
    assert "loss_policy" in losses_of(converted(copy.deepcopy(model)))
    (loss,) = maps
    data = batch()
    label = torch.cat([s.gt_sem_seg.data for s in data["data_samples"]])
    assert not bool(loss[label == 255].any()) and bool((loss[label != 255] > 0).all())
    head = model.decode_head
    with watch_losses(model) as maps:
        for logits in (torch.randn(2, 3, 8, 8), torch.randn(2, 1, 8, 8)):
            head.loss_decode(logits, torch.zeros(2, 8, 8, dtype=torch.long), ignore_index=255)
    assert [m.shape for m in maps] == [(2, 8, 8)]


def test_a_cascade_is_judged_by_its_last_head_that_looks_at_every_pixel():
    from mmseg.models.losses import CrossEntropyLoss

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.loss_decode, self.num_classes = CrossEntropyLoss(), 4

    model = nn.Module()
    model.decode_head = nn.ModuleList([Head(), Head(), Head()])
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    with watch_losses(model) as maps:
        model.decode_head[0].loss_decode(torch.ones(1, 4, 4, 4).cumsum(1), labels)
        model.decode_head[1].loss_decode(torch.zeros(1, 4, 4, 4), labels)
        model.decode_head[2].loss_decode(torch.zeros(1, 4, 5), labels[:, 0].repeat(1, 2)[:, :5])
    assert len(maps) == 1 and torch.allclose(maps[0], torch.full((1, 4, 4), 4.0).log())


def test_a_step_under_bfloat16_autocast():
    model = converted()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    plain = losses_of(model)["decode.loss_ce"]
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(model)
    assert float((losses["decode.loss_ce"] - plain).detach().abs()) < 0.05 * float(plain.detach())
    total(losses).backward()
    optimizer.step()
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_evaluation_in_loss_mode_draws_nothing():
    model = converted().eval()
    state = torch.get_rng_state()
    with torch.no_grad():
        losses = model(**batch(), mode="loss")
    assert torch.equal(torch.get_rng_state(), state) and "loss_policy" not in losses


def test_the_oracle_takes_the_blocks_that_gain_most():
    model = converted(policy="oracle", budget=0.34).eval()
    data = batch()
    with torch.no_grad():
        samples = model(**data, mode="predict")
        chosen = runtime_of(model).last_frame.grid.levels == Level.FULL
        gains = []
        for policy in ("all-half", "all-full"):
            other = converted(restore_model(copy.deepcopy(model)), policy=policy).eval()
            with watch_losses(other) as maps:
                other(**batch(), mode="loss")
            gains.append(F.adaptive_avg_pool2d(sum(maps)[:, None], (2, 3))[:, 0])
    gain = gains[0] - gains[1]
    assert torch.equal(chosen.flatten(1).sum(1), torch.tensor([2, 2]))
    for image in range(2):
        best = gain[image][chosen[image]].min()
        assert bool((gain[image][~chosen[image]] <= best + 1e-6).all())
    assert samples[0].pred_sem_seg.data.shape == (1, 64, 96)


@pytest.mark.parametrize("policy", ["all-full", "all-half"])
def test_predictions_are_the_dense_networks(policy):
    stock, mine = build().eval(), converted(policy=policy).eval()
    data = batch()
    with torch.no_grad():
        got = mine(**data, mode="predict")
        if policy == "all-full":
            wanted = stock(**batch(), mode="predict")[0].seg_logits.data
        else:
            logits = stock(F.avg_pool2d(data["inputs"], 2), mode="tensor")
            logits = F.interpolate(logits, scale_factor=2, mode="bilinear")
            wanted = F.interpolate(logits, (64, 96), mode="bilinear")[0]
    assert_same(got[0].seg_logits.data, wanted)


def test_a_detector_is_refused_by_name():
    pytest.importorskip("mmdet")
    from tests.conversion.hosts import build as build_host

    with pytest.raises(ValueError, match="segmentation.*RetinaNet.*BlockCopy"):
        converted(build_host("one stage"))


def test_the_hosts_initialisation_leaves_the_policy_as_it_is():
    model = converted(build(init_cfg=dict(type="Normal", layer="Conv2d", std=0.5)))
    before = copy.deepcopy(model.block_policy.state_dict())
    weight = model.decode_head.conv_seg.weight.clone()
    model.init_weights()
    assert not torch.equal(model.decode_head.conv_seg.weight, weight)
    for name, value in model.block_policy.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_training_on_padded_images_warns_once(caplog):
    model = converted()
    for size in ((64, 96), (56, 80), (56, 80)):
        model(**batch(size=size), mode="loss")
    said = [r.message for r in caplog.records if "crop size of whole blocks" in r.message]
    assert len(said) == 1 and "56x80 are padded to 64x96" in said[0]
