"""Losses, predictions and refusals of the whole model."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import BaseDataElement, InstanceData

from mmdyn.conversion import runtime_of
from mmdyn.models.pose import KeypointMSELoss
from mmdyn.models.pose.heads import close_peaks

CODEC = dict(type="MSRAHeatmap", input_size=(64, 64), heatmap_size=(16, 16), sigma=1, unbiased=True)
CONFIG = dict(
    type="TopdownPoseEstimator",
    data_preprocessor=dict(mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=True),
    backbone=dict(type="MobileHourglass", num_joints=2, width=8, num_stacks=2, depth=2),
    head=dict(type="CPMHead", in_channels=2, out_channels=2, num_stages=2, decoder=CODEC),
)


def sample(joints=((20.0, 30.0), (40.0, 10.0)), visible=(1, 1)):
    from mmdyn.models.pose import MSRAHeatmap

    codec = MSRAHeatmap(**{k: v for k, v in CODEC.items() if k != "type"})
    target = codec.encode(np.array([joints], np.float32), np.array([visible], np.float32))
    facts = dict(
        input_size=(64, 64), input_center=[100.0, 50.0], input_scale=[32.0, 32.0],
        flip_indices=[1, 0],
    )  # fmt: skip
    out = BaseDataElement(metainfo=facts)
    out.gt_fields = BaseDataElement(heatmaps=torch.from_numpy(target["heatmaps"]))
    weights = torch.from_numpy(target["keypoint_weights"])
    out.gt_instance_labels = InstanceData(keypoint_weights=weights)
    return out


def build(**changes):
    init_default_scope("mmdyn")
    return MODELS.build({**CONFIG, **changes}).eval()


def test_loss_is_the_weighted_error_summed_over_stages():
    model, one = build(), sample(visible=(1, 0))
    x = torch.randn(1, 3, 64, 64)
    outputs = model(x)
    errors = [((o[0, 0] - one.gt_fields.heatmaps[0]) ** 2).sum() / o.numel() for o in outputs]
    assert torch.allclose(model(x, [one], mode="loss")["loss_kpt"], sum(errors))


def test_unweighted_loss_counts_all_and_weights_are_needed_where_used():
    out, target = torch.ones(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    assert float(KeypointMSELoss(loss_weight=3.0)(out, target)) == 3.0
    with pytest.raises(ValueError, match="target_weights"):
        KeypointMSELoss(use_target_weight=True)(out, target)


def test_training_reaches_all_stacks():
    from mmengine.optim import OptimWrapper

    model = build().train()
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    data = dict(inputs=[torch.randint(256, (3, 64, 64), dtype=torch.uint8)] * 2,
                data_samples=[sample(), sample()])  # fmt: skip
    model.train_step(data, OptimWrapper(torch.optim.Adam(model.parameters(), 0.1)))
    # A bias before a norm has no gradient worth the name.
    moved = [k for k, p in model.named_parameters() if not torch.equal(p, before[k])]
    assert len(moved) >= len(before) - 1


def test_perfect_heatmaps_become_joints_of_the_image():
    model, one = build(), sample()
    heatmaps = one.gt_fields.heatmaps[None]
    (out,) = model.head.predict((heatmaps, heatmaps), [one])
    # 64 input pixels are 32 of the image, around (100, 50).
    expected = [[20 / 2 + 84, 30 / 2 + 34], [40 / 2 + 84, 10 / 2 + 34]]
    assert torch.allclose(out.pred_instances.keypoints[0], torch.tensor(expected), atol=0.02)


def test_flip_test_of_a_symmetric_answer_changes_nothing():
    model, one = build(), sample()
    heatmaps = one.gt_fields.heatmaps[None]
    mirrored = heatmaps.flip(3)[:, [1, 0]]
    (plain,) = model.head.predict((heatmaps,) * 2, [one])
    joints = plain.pred_instances.keypoints.clone()
    (both,) = model.head.predict((heatmaps,) * 2, [one], (mirrored,) * 2)
    assert torch.allclose(both.pred_instances.keypoints, joints, atol=1e-4)


def test_shifted_heatmaps_of_the_mirrored_crop_are_nearer():
    def found(shift):
        model = build(test_cfg=dict(flip_test=True, flip_mode="heatmap", shift_heatmap=shift))
        one, other = sample(), sample(((63 - 40.0, 10.0), (63 - 20.0, 30.0)))
        maps = [s.gt_fields.heatmaps[None] for s in (one, other)]
        x = torch.zeros(1, 1, 1, 2)
        x[..., 0] = 1.0  # tells the crop from its mirror image
        model.extract_feat = lambda x: (maps[int(x[0, 0, 0, 1])],) * 2
        (out,) = model.predict(x, [one])
        return out.pred_instances.keypoints[0, :, 0]

    wanted = torch.tensor([20 / 2 + 84, 40 / 2 + 84])
    errors = [(found(shift) - wanted).abs().max() for shift in (False, True)]
    assert errors[1] < 0.3 < 0.6 < errors[0]  # 0.125 and 0.375 heatmap pixels of 4, in an image / 2


def test_flip_test_asks_the_network_twice():
    x = torch.randn(1, 3, 64, 64)
    (single,), (double,) = (
        build(test_cfg=dict(flip_test=flip))(x, [sample()], mode="predict")
        for flip in (False, True)
    )
    assert double.pred_instances.keypoint_scores.shape == (1, 2)
    assert not torch.equal(
        single.pred_instances.keypoint_scores, double.pred_instances.keypoint_scores
    )


def test_close_peaks_counts_weighted_joints_by_hand():
    target, output = torch.zeros(2, 1, 2, 40, 40).unbind()
    target[0, :, 20, 20] = 1
    output[0, 0, 20, 22] = output[0, 1, 20, 23] = 1  # 2 of 40 is near, 3 is not
    assert float(close_peaks(output, target, torch.tensor([[1.0, 1.0]]))) == 0.5
    assert float(close_peaks(output, target, torch.tensor([[1.0, 0.0]]))) == 1.0


def test_heads_with_layers_and_wrong_maps_are_refused():
    with pytest.raises(ValueError, match="mmpose"):
        MODELS.build(dict(CONFIG["head"], type="mmdyn.CPMHead", final_layer=dict(kernel_size=1)))
    model = build()
    with pytest.raises(ValueError, match="align"):
        model.head((torch.zeros(1, 3, 16, 16),) * 2)
    with pytest.raises(ValueError, match="flip_test"):
        build(test_cfg=dict(output_heatmaps=True))
    with pytest.raises(ValueError, match="mode"):
        model(torch.zeros(1, 3, 64, 64), mode="train")


def gated(**options):
    init_default_scope("mmdyn")
    torch.manual_seed(0)
    config = {**CONFIG, "type": "mmdyn.DynConv", "host": "TopdownPoseEstimator", **options}
    return MODELS.build(config).eval()


def test_the_one_line_gates_it_and_budget_one_is_the_stock_network():
    torch.manual_seed(0)
    stock, model = build(), gated(budget=1.0)
    model.load_state_dict(stock.state_dict(), strict=False)
    x = torch.randn(2, 3, 64, 64)
    for wanted, found in zip(stock(x), model(x)):
        assert torch.allclose(wanted, found, atol=1e-5)
    assert stock.state_dict().keys() < model.state_dict().keys()


def test_gated_training_has_a_sparsity_loss_that_reaches_the_gates():
    model = gated(budget=0.25, weight=0.01).train()
    losses = model(torch.randn(1, 3, 64, 64), [sample()], mode="loss")
    assert {"loss_kpt", "loss_sparsity"} <= losses.keys()
    sum(v for k, v in losses.items() if k.startswith("loss")).backward()
    gates = [p for k, p in model.named_parameters() if "gate" in k]
    assert gates and all(p.grad is not None for p in gates)


def test_sparse_and_masked_predictions_agree():
    x, outputs = torch.randn(1, 3, 64, 64), []
    for execution in ("sparse", "dense"):
        model = gated(budget=0.25, execution=execution, open_init=0.5)
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if "gate" in name and parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.5)
        runtime = runtime_of(model)
        runtime.keep_masks = True
        outputs.append(model(x))
        shares = [float(mask.float().mean()) for mask in runtime.masks.values()]
        assert shares and any(0 < share < 1 for share in shares)
    for sparse, masked in zip(*outputs):
        assert torch.allclose(sparse, masked, atol=1e-4)
