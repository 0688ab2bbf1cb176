"""The classifier as a config names it: losses, predictions, refusals."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import BaseDataElement

CONFIG = dict(
    type="ImageClassifier",
    data_preprocessor=dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0]),
    backbone=dict(type="CIFARResNet", depth=8, base_channels=4),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=16,
        loss=dict(type="CrossEntropyLoss", loss_weight=0.5),
    ),
)


@pytest.fixture
def model():
    init_default_scope("mmdyn")
    return MODELS.build(CONFIG).eval()


def batch(labels):
    samples = [BaseDataElement() for _ in labels]
    for sample, label in zip(samples, labels):
        sample.set_field(torch.tensor([label]), "gt_label", dtype=torch.Tensor)
    images = [torch.randint(256, (3, 32, 32), dtype=torch.uint8) for _ in labels]
    return dict(inputs=images, data_samples=samples)


def test_loss_is_the_cross_entropy_of_the_scores(model):
    data = model.data_preprocessor(batch([3, 7]))
    losses = model(**data, mode="loss")
    expected = 0.5 * F.cross_entropy(model(data["inputs"]), torch.tensor([3, 7]))
    assert torch.allclose(losses["loss"], expected)


def test_training_step_reaches_all_parameters(model):
    from mmengine.optim import OptimWrapper

    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    log = model.train().train_step(batch([1, 2, 3]), OptimWrapper(optimizer))
    assert log["loss"].isfinite()
    assert all(not torch.equal(p, before[k]) for k, p in model.named_parameters())


def test_predictions_are_shares_and_the_highest_label(model):
    data = batch([0, 1, 2])
    samples = model.test_step(data)
    scores = model(model.data_preprocessor(data)["inputs"])
    for sample, score in zip(samples, scores):
        assert torch.allclose(sample.pred_score, score.softmax(0))
        assert int(sample.pred_label) == int(score.argmax())
    assert [int(s.gt_label) for s in samples] == [0, 1, 2]


def test_preprocessor_normalises_per_channel_and_swaps_when_asked(model):
    data = batch([0])
    image = data["inputs"][0].float()
    out = model.data_preprocessor(data)["inputs"][0]
    assert torch.allclose(out[1], (image[1] - 110) / 60)
    model.data_preprocessor.to_rgb = True
    out = model.data_preprocessor(data)["inputs"][0]
    assert torch.allclose(out[0], (image[2] - 100) / 50)


def test_images_of_several_sizes_are_refused(model):
    with pytest.raises(ValueError, match="one size"):
        model.data_preprocessor(dict(inputs=[torch.zeros(3, 8, 8), torch.zeros(3, 9, 8)]))


def test_unknown_mode_and_batch_augmentation_are_refused(model):
    with pytest.raises(ValueError, match="mode"):
        model(torch.zeros(1, 3, 32, 32), mode="train")
    with pytest.raises(ValueError, match="mmpretrain"):
        MODELS.build(dict(CONFIG, train_cfg=dict(augments=dict(type="Mixup"))))


def test_without_a_head_features_come_out():
    init_default_scope("mmdyn")
    model = MODELS.build(dict(CONFIG, head=None, neck=None))
    assert model(torch.zeros(1, 3, 32, 32))[0].shape == (1, 16, 8, 8)
