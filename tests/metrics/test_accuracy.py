"""Accuracy against cases counted by hand."""

import pytest
import torch

from mmdyn.metrics.accuracy import Accuracy


def run(cases, topk=(1,)):
    metric = Accuracy(topk)
    samples = [dict(pred_score=torch.tensor(s), gt_label=torch.tensor([k])) for s, k in cases]
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def test_top_one_and_top_two_by_hand():
    cases = [([0.7, 0.2, 0.1], 0), ([0.2, 0.5, 0.3], 2), ([0.1, 0.2, 0.7], 0), ([0.1, 0.8, 0.1], 1)]
    assert run(cases, (1, 2)) == {"accuracy/top1": 50.0, "accuracy/top2": 75.0}


def test_nan_scores_and_ties_are_not_right_by_chance():
    nan = float("nan")
    assert run([([nan, nan], 0), ([0.5, 0.5], 0)]) == {"accuracy/top1": 0.0}


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="topk"):
        Accuracy(0)
    with pytest.raises(ValueError, match="num_classes"):
        run([([0.5, 0.5], 2)])
    with pytest.raises(ValueError, match="num_classes"):
        run([([0.5, 0.5], 1)], topk=5)
