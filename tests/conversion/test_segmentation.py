"""Labels of copied blocks are copied: they are those that the stock method finds in the logits."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmdyn import BlockCopyConfig, convert_model, restore_model
from mmdyn.conversion.hosts.openmmlab import example_metas
from mmdyn.conversion.hosts.segmentation import BlockLabels
from tests.conversion.segmentors import build
from tests.conversion.test_runtime_motion import pan

FRAMES = 5


def converted(model: nn.Module | None = None, **options) -> nn.Module:
    model = build().eval() if model is None else model
    config = BlockCopyConfig(**{"budget": 0.4, "block_size": 32, "motion": True, **options})
    convert_model(model, config, trial=False)
    return model


def samples_of(images: torch.Tensor, **meta) -> list:
    from mmseg.structures import SegDataSample

    metas = {**example_metas(tuple(images.shape[2:])), **meta}
    return [SegDataSample(metainfo=dict(metas)) for _ in images]


@torch.no_grad()
def play(model: nn.Module, frames: list[torch.Tensor], **meta) -> list:
    """The first image's prediction in every frame."""
    return [model(f, samples_of(f, **meta), mode="predict")[0] for f in frames]


def logits_and_labels(model: nn.Module, frames: list[torch.Tensor], **meta) -> list:
    found = play(model, frames, **meta)
    return [(s.seg_logits.data.clone(), s.pred_sem_seg.data.clone()) for s in found]


@pytest.fixture
def stock_method(monkeypatch):
    """Leaves the stock method alone in models that are converted from here on."""
    return lambda: monkeypatch.setattr(BlockLabels, "serves", staticmethod(lambda model: False))


@pytest.mark.parametrize("half_budget", [0.0, 0.3])
@pytest.mark.parametrize("size", [(96, 160), (90, 150)])
def test_labels_and_logits_are_the_stock_methods(stock_method, size, half_budget):
    frames = [f[:, :, : size[0], : size[1]] for f in pan(FRAMES, 5.0)]
    ours = logits_and_labels(converted(half_budget=half_budget), frames)
    stock_method()
    theirs = logits_and_labels(converted(half_budget=half_budget), frames)
    for (logits, labels), (other_logits, other_labels) in zip(ours, theirs, strict=True):
        assert logits.shape[1:] == size and labels.dtype == other_labels.dtype
        assert torch.equal(logits, other_logits) and torch.equal(labels, other_labels)
    assert not torch.equal(ours[0][1], ours[-1][1])


def test_images_of_a_batch_keep_their_own_labels():
    frames = [torch.cat([a, b.flip(3)]) for a, b in zip(pan(FRAMES, 5.0), pan(FRAMES, 2.0))]
    model = converted()
    for frame in frames:
        with torch.no_grad():
            found = model(frame, samples_of(frame), mode="predict")
        for sample in found:
            assert torch.equal(sample.pred_sem_seg.data, sample.seg_logits.data.argmax(0)[None])


def test_what_a_frame_returned_stays_as_it_was():
    frames = pan(FRAMES, 5.0)
    model = converted()
    (first,) = play(model, frames[:1])
    before = first.pred_sem_seg.data.clone(), first.seg_logits.data.clone()
    play(model, frames[1:])
    assert torch.equal(first.pred_sem_seg.data, before[0])
    assert torch.equal(first.seg_logits.data, before[1])


def test_resized_images_are_left_to_the_stock_method(stock_method):
    frames = pan(3, 5.0)
    ours = logits_and_labels(converted(), frames, ori_shape=(48, 80))
    stock_method()
    theirs = logits_and_labels(converted(), frames, ori_shape=(48, 80))
    for one, other in zip(ours, theirs, strict=True):
        assert one[0].shape[1:] == (48, 80)
        assert all(torch.equal(a, b) for a, b in zip(one, other))


def test_a_model_with_a_method_of_its_own_keeps_it():
    model = build().eval()

    class Own(type(model)):
        def postprocess_result(self, seg_logits, data_samples=None):
            return "own"

    model.__class__ = Own
    converted(model)
    assert "postprocess_result" not in model.__dict__
    assert Own.postprocess_result(model, None) == "own"


def test_restoring_gives_the_stock_method_back_and_copies_have_their_own():
    model = converted()
    twin = copy.deepcopy(model)
    assert twin.__dict__["postprocess_result"].module is twin
    restore_model(model)
    assert "postprocess_result" not in model.__dict__
