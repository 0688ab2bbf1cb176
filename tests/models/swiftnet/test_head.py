"""The decoder: its arithmetic, its losses, its parameter groups, and that it runs on blocks."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("mmseg")

from mmengine.optim import build_optim_wrapper
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmdyn.conversion.counting import count_macs
from mmdyn.conversion.hosts import parity, zoo
from tests.models.swiftnet.networks import swiftnet


def labelled(labels: torch.Tensor) -> list[SegDataSample]:
    samples = []
    for label in labels:
        sample = SegDataSample(gt_sem_seg=PixelData(data=label[None]))
        sample.set_metainfo(dict(img_shape=tuple(label.shape), ori_shape=tuple(label.shape)))
        samples.append(sample)
    return samples


@pytest.mark.parametrize(
    "encoder, encoder_macs, pyramid, decoder",
    [("r18", 75.80e9, 0.20e9, 27.56e9), ("r50", 170.83e9, 0.60e9, 33.20e9)],
)
def test_macs_are_those_of_the_published_networks(encoder, encoder_macs, pyramid, decoder):
    macs = count_macs(swiftnet(encoder).to("meta"), (1024, 2048))
    total = {"r18": 103.566e9, "r50": 204.632e9}[encoder]
    assert sum(macs.values()) == pytest.approx(total, abs=0.001e9)
    parts = [
        sum(n for path, n in macs.items() if path.startswith(prefix))
        for prefix in ("backbone.", "decode_head.pyramid.")
    ]
    parts.append(sum(macs.values()) - sum(parts))
    assert parts == pytest.approx([encoder_macs, pyramid, decoder], abs=0.01e9)


def test_macs_of_efficientnet_lite1_are_those_of_the_published_network():
    macs = count_macs(swiftnet("effl1").to("meta"), (1024, 2048))
    assert sum(macs.values()) == pytest.approx(24.1e9, abs=0.1e9)


def test_decoder_adds_skips_to_what_it_doubles():
    head = swiftnet("r18", classes=5).decode_head
    zoo.randomise(head)
    maps = [torch.randn(1, c, 32 // s, 64 // s) for c, s in zip((64, 128, 256, 512), (1, 2, 4, 8))]

    def unit(module, x):
        return module.conv(F.relu(module.norm(x)))

    with torch.no_grad():
        x = head.pyramid(maps[3])
        for upsample, skip in zip(head.upsamples, maps[2::-1]):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = unit(upsample.blend, x + unit(upsample.skip, skip))
        expected = head.conv_seg(F.relu(head.norm(x)))
        got = head(maps)
    assert got.shape == (1, 5, 32, 64)
    torch.testing.assert_close(got, expected)


def test_it_trains_with_an_auxiliary_head_and_hard_pixels():
    model = swiftnet("r18", classes=5, head=dict(
        sampler=dict(type="OHEMPixelSampler", thresh=0.7408, min_kept=64),
    )).train()  # fmt: skip
    labels = torch.randint(0, 5, (2, 64, 96))
    losses = model.loss(torch.randn(2, 3, 64, 96), labelled(labels))
    total, _ = model.parse_losses(losses)
    total.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_encoder_has_a_quarter_of_rate_and_decay():
    wrapper = dict(
        type="OptimWrapper",
        optimizer=dict(type="Adam", lr=4e-4, betas=(0.5, 0.999), weight_decay=1e-4),
        paramwise_cfg=dict(custom_keys={"backbone": dict(lr_mult=0.25, decay_mult=0.25)}),
    )
    model = swiftnet("r18")
    groups = build_optim_wrapper(model, wrapper).optimizer.param_groups
    rates = {(g["lr"], g["weight_decay"], g["betas"]): 0 for g in groups}
    for g in groups:
        rates[g["lr"], g["weight_decay"], g["betas"]] += sum(p.numel() for p in g["params"])
    encoder = sum(p.numel() for p in model.backbone.parameters())
    assert rates == {
        (1e-4, 2.5e-5, (0.5, 0.999)): encoder,
        (4e-4, 1e-4, (0.5, 0.999)): sum(p.numel() for p in model.parameters()) - encoder,
    }


@pytest.mark.parametrize("encoder", ["r18", "effl1"])
@pytest.mark.parametrize("skips", ["post", "pre"])
def test_it_runs_on_blocks(encoder, skips):
    if (encoder, skips) == ("effl1", "pre"):
        pytest.skip("EfficientNet-Lite's blocks end without an activation")
    options = dict(skips=skips) if encoder == "r18" else {}
    model = swiftnet(encoder, classes=5, **options)
    zoo.randomise(model)
    found = parity.measure(model, (128, 256), 64)
    assert not found.faults
    assert found.sparse_mac_share > 0.95
    assert {op.split(":")[0] for op in found.dense_ops} <= {"adaptive_avg_pool2d"}


def test_one_map_is_refused():
    with pytest.raises(ValueError, match="at least two maps of the encoder"):
        swiftnet("r18", head=dict(in_channels=[64]))
