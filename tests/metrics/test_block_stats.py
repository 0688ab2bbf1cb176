"""What a run cost: means over frames, first frames apart."""

import pytest

pytest.importorskip("mmengine")

from mmengine.evaluator import Evaluator

from mmdyn.metrics.block_stats import BlockStatsMetric
from mmdyn.registry import METRICS


def sample(share: float, first: bool = False, **more) -> dict:
    stats = dict(
        executed_share=share, gmacs=10 * share, dense_gmacs=10.0, ms=100 * share + 5,
        policy_ms=5.0, first_frame=first, state_mb=2.0,
    )  # fmt: skip
    return dict(img_path="x", blockcopy_stats={**stats, **more})


def test_first_frames_are_reported_apart():
    metric = METRICS.build(dict(type="mmdyn.BlockStatsMetric"))
    assert isinstance(metric, BlockStatsMetric)
    for stats in (sample(1.0, True, state_mb=3.5), sample(0.2), sample(0.3)):
        metric.process({}, [stats])
    scores = metric.evaluate(3)
    assert scores["blocks/share"] == pytest.approx(0.5)
    assert scores["blocks/share_first"] == 1 and scores["blocks/share_next"] == pytest.approx(0.25)
    assert scores["blocks/gmacs_next"] == pytest.approx(2.5) and scores["blocks/gmacs_dense"] == 10
    assert scores["blocks/gmacs_saved"] == pytest.approx(0.5)
    assert scores["blocks/ms"] == pytest.approx(55) and scores["blocks/policy_ms_next"] == 5
    assert scores["blocks/state_mb"] == 3.5
    assert (scores["blocks/frames"], scores["blocks/clips"]) == (3, 1)


def test_a_batch_shares_what_was_counted_for_it():
    metric = BlockStatsMetric(prefix="b")
    metric.process({}, [sample(0.5), sample(0.5)])
    scores = metric.evaluate(2)
    assert scores["b/gmacs"] == pytest.approx(2.5) and scores["b/ms"] == pytest.approx(27.5)
    assert scores["b/gmacs_dense"] == pytest.approx(5) and scores["b/share"] == 0.5
    assert scores["b/gmacs_saved"] == pytest.approx(0.5) and scores["b/clips"] == 0


def test_what_is_not_measured_is_left_out():
    metric = BlockStatsMetric()
    metric.process({}, [dict(blockcopy_stats=dict(executed_share=0.4, ms=None))])
    assert metric.evaluate(1) == {"blocks/share": 0.4, "blocks/share_next": 0.4,
                                  "blocks/frames": 1, "blocks/clips": 0}  # fmt: skip


def test_results_of_ranks_join_in_any_order():
    parts = [BlockStatsMetric(), BlockStatsMetric()]
    parts[0].process({}, [sample(1.0, True)])
    for share in (0.1, 0.2):
        parts[1].process({}, [sample(share)])
    joined = parts[0].results + parts[1].results
    assert parts[0].compute_metrics(joined) == pytest.approx(parts[0].compute_metrics(joined[::-1]))


def test_an_unconverted_model_is_named():
    evaluator = Evaluator([BlockStatsMetric()])
    with pytest.raises(KeyError, match=r"got \['img_path'\]; convert the model"):
        evaluator.process([dict(img_path="x")], {})
    with pytest.raises(ValueError, match="saw no frame"):
        BlockStatsMetric().compute_metrics([])
