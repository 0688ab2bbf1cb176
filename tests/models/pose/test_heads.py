"""The head of plain backbones: mmpose's keys and sizes, what it refuses, that it learns."""

import pytest
import torch
from mmengine.registry import MODELS

from tests.models.pose.test_estimator import CODEC, build, sample

HEAD = dict(
    type="mmdyn.HeatmapHead", in_channels=8, out_channels=2, deconv_out_channels=(6, 4),
    deconv_kernel_sizes=(4, 2), decoder=CODEC,
)  # fmt: skip


def head(**changes) -> torch.nn.Module:
    build()
    return MODELS.build({**HEAD, **changes})


def test_each_deconvolution_doubles_the_map_and_keys_are_mmposes():
    made = head()
    (out,) = made((torch.randn(1, 3, 9, 9), torch.randn(1, 8, 4, 5)))
    assert out.shape == (1, 2, 16, 20)
    layers = {".".join(key.split(".")[:2]) for key in made.state_dict()}
    assert layers == {
        "deconv_layers.0", "deconv_layers.1", "deconv_layers.3", "deconv_layers.4",
        "final_layer.weight", "final_layer.bias",
    }  # fmt: skip
    assert made.final_layer.kernel_size == (1, 1)
    assert head(final_layer=dict(kernel_size=3)).final_layer.padding == (1, 1)


def test_the_published_initial_weights():
    made = head()
    made.init_weights()
    deconv, norm = made.deconv_layers[0], made.deconv_layers[1]
    assert 0.0008 < float(deconv.weight.detach().std()) < 0.0012
    assert bool((norm.weight == 1).all())


@pytest.mark.parametrize(
    "wrong",
    [
        dict(deconv_kernel_sizes=(4,)),
        dict(deconv_kernel_sizes=(4, 3)),
        dict(final_layer=dict(kernel_size=1, padding=2)),
    ],
)
def test_layers_it_does_not_have_are_refused(wrong):
    with pytest.raises(ValueError, match="mmpose's HeatmapHead takes more"):
        head(**wrong)


def test_a_plain_backbone_with_it_learns_one_image_and_predicts_its_joints():
    pytest.importorskip("mmdet")
    torch.manual_seed(0)
    backbone = dict(type="mmdet.ResNet", depth=18, base_channels=8, out_indices=(3,))
    deconvs = dict(deconv_out_channels=(16, 16, 16), deconv_kernel_sizes=(4, 4, 4))
    model = build(backbone=backbone, head={**HEAD, "in_channels": 64, **deconvs}).train()
    image, one = torch.randn(2, 3, 64, 64), sample()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = model(image, [one, one], mode="loss")["loss_kpt"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.2 * losses[0]
    with torch.no_grad():
        model.train()  # batch statistics: sixty steps did not settle the running ones
        (found, _) = model(image, [one, one], mode="predict")
    wanted = torch.tensor([[20.0, 30.0], [40.0, 10.0]]) / 64 * 32 + torch.tensor([84.0, 34.0])
    assert torch.allclose(found.pred_instances.keypoints[0], wanted, atol=2.0)
