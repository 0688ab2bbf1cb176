"""CSP on blocks by the one call: exact over deconvolutions, L2 and group norm, and all of it."""

import copy

import pytest
import torch

pytest.importorskip("mmdet")

from mmdet.structures import DetDataSample

import mmdyn
from mmdyn.conversion import runtime_of
from mmdyn.conversion.hosts import parity, zoo
from tests.models.csp.networks import tiny_csp

BLOCK, SIZE = 64, (128, 192)


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    model = tiny_csp().eval()
    zoo.randomise(model)
    return model


@pytest.mark.parametrize("shared", [False, True])
def test_every_kind_of_frame_is_exact_and_everything_runs_on_blocks(shared):
    model = tiny_csp(shared_tower=shared).eval()
    zoo.randomise(model)
    found = parity.measure(model, (128, 128), BLOCK)
    assert not found.faults, found.faults
    assert found.error_all <= 1e-4 and found.sparse_mac_share == 1.0
    assert not found.dense_ops


def sample() -> list[DetDataSample]:
    meta = dict(img_shape=SIZE, ori_shape=SIZE, scale_factor=(1.0, 1.0), batch_input_shape=SIZE)
    return [DetDataSample(metainfo=meta)]


def detections(model, image: torch.Tensor):
    with torch.no_grad():
        (found,) = model(image, sample(), mode="predict")
    return found.pred_instances


def test_the_detector_finds_what_the_dense_one_finds(model):
    model.bbox_head.test_cfg.score_thr = 0.0
    image = torch.randn(1, 3, *SIZE)
    expected = detections(copy.deepcopy(model), image)
    assert len(expected) > 5
    config = mmdyn.BlockCopyConfig(policy="all", block_size=BLOCK)
    mmdyn.convert_model(model, config, trial=False)
    assert type(model).__name__ == "BlockCopySingleStageDetector"
    for _ in range(2):
        found = detections(model, image)
        torch.testing.assert_close(found.bboxes, expected.bboxes, atol=1e-2, rtol=1e-3)
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=1e-3)


def test_a_budget_is_kept_and_boxes_tell_the_policy(model):
    config = mmdyn.BlockCopyConfig(budget=0.5, block_size=BLOCK, refresh=None)
    mmdyn.convert_model(model, config, trial=False)
    shares, image = [], torch.randn(1, 3, *SIZE)
    for _ in range(12):
        image = image + 0.05 * torch.randn_like(image)
        detections(model, image)
        shares.append(runtime_of(model).stats["executed_share"])
    assert shares[0] == 1.0 and sum(shares) / len(shares) <= 0.5 + 1e-6
    task = runtime_of(model).last_observation.task[0]
    assert task.kind == "detection" and task.image_size == SIZE
