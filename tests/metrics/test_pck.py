"""PCK against people counted by hand."""

import numpy as np
import pytest

from mmdyn.metrics.pck import MpiiPCKAccuracy, PCKAccuracy

META = dict(keypoint_names=("a", "b", "c"), torso=((0, 1), (0, 2)))


def person(joints, found, visible=(1, 1, 1), **facts):
    return dict(
        gt_instances=dict(
            keypoints=np.array([joints], float),
            keypoints_visible=np.array([visible], float),
            bboxes=np.array([[0, 0, 40, 100.0]]),
        ),
        pred_instances=dict(keypoints=np.array([found], float)),
        **facts,
    )


def evaluate(metric, people, meta=META):
    metric.dataset_meta = meta
    metric.process({}, people)
    return metric.evaluate(len(people))


TRUTH = [[0, 0], [0, 50], [30, 0]]


def test_torso_by_hand():
    # The torso is 50 long: 10 px are near, 10.1 are not.
    people = [person(TRUTH, [[0, 10], [0, 60.1], [30, 0]]), person(TRUTH, [[0, 0]] * 3)]
    scores = evaluate(PCKAccuracy(0.2), people)
    assert scores["pck/a"] == 100 and scores["pck/b"] == 0 and scores["pck/c"] == 50
    assert scores["pck/mean"] == 50 and scores["pck/people"] == 2


def test_hidden_joints_do_not_count_and_the_second_pair_measures():
    # b is hidden: a and c measure, 30 px; 6 are near, 6.1 are not.
    people = [person(TRUTH, [[6, 0], [999, 999], [36.1, 0]], (1, 0, 1))]
    scores = evaluate(PCKAccuracy(0.2), people)
    assert scores == {"pck/a": 100.0, "pck/c": 0.0, "pck/mean": 50.0, "pck/people": 1}


def test_people_without_a_torso_are_left_out():
    people = [person(TRUTH, TRUTH, (0, 1, 1)), person(TRUTH, [[0, 0], [0, 50], [99, 0]])]
    scores = evaluate(PCKAccuracy(0.2), people)
    assert scores["pck/people"] == 1 and scores["pck/c"] == 0 and scores["pck/a"] == 100


def test_box_and_head_measure_too():
    people = [person(TRUTH, [[19, 0], [0, 50], [30, 21]], head_size=40.0)]
    scores = evaluate(PCKAccuracy(0.2, "bbox"), people)  # 20 px
    assert (scores["pck/a"], scores["pck/c"]) == (100, 0)
    scores = evaluate(PCKAccuracy(0.5, "head"), people)  # 20 px
    assert (scores["pck/a"], scores["pck/c"]) == (100, 0)


def test_predictions_that_are_no_numbers_are_wrong():
    nan = float("nan")
    assert evaluate(PCKAccuracy(), [person(TRUTH, [[nan, nan]] * 3)])["pck/mean"] == 0


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="norm_item"):
        PCKAccuracy(norm_item="leg")
    with pytest.raises(ValueError, match="head_size"):
        evaluate(PCKAccuracy(norm_item="head"), [person(TRUTH, TRUTH)])
    with pytest.raises(ValueError, match="out_channels"):
        evaluate(PCKAccuracy(), [person(TRUTH, TRUTH[:2])])


def test_mpii_groups_and_total_by_hand():
    from mmdyn.datasets.pose import MpiiDataset

    names = MpiiDataset.METAINFO["keypoint_names"]
    truth = np.zeros((16, 2))
    found = truth.copy()
    found[names.index("left_knee")] = [0, 51]  # half the head, 100 px, is 50
    found[names.index("pelvis")] = [0, 500]
    found[names.index("right_hip")] = [0, 11]  # near at 0.5, not at 0.1
    visible = np.ones(16)
    visible[names.index("left_ankle")] = 0
    people = [person(truth, found, visible, head_size=100.0)]
    scores = evaluate(MpiiPCKAccuracy(), people, MpiiDataset.METAINFO)
    assert scores["pckh/Knee"] == 50 and scores["pckh/Hip"] == 100
    assert scores["pckh/Ankle"] == 100  # the one side that is seen
    assert scores["pckh/PCKh"] == pytest.approx(100 * 12 / 13)  # 14 joints count, one is hidden
    assert scores["pckh/PCKh@0.1"] == pytest.approx(100 * 11 / 13)


def test_the_top_alone_is_mpiis_head_and_the_neck_counts_in_the_total():
    from mmdyn.datasets.pose import MpiiDataset

    names = MpiiDataset.METAINFO["keypoint_names"]
    truth = np.zeros((16, 2))
    found = truth.copy()
    found[names.index("upper_neck")] = [0, 99]
    visible = np.ones(16)
    visible[[names.index("left_knee"), names.index("right_knee")]] = 0
    people = [person(truth, found, visible, head_size=100.0)]
    scores = evaluate(MpiiPCKAccuracy(), people, MpiiDataset.METAINFO)
    assert scores["pckh/Head"] == 100 and "pckh/Knee" not in scores
    assert scores["pckh/PCKh"] == pytest.approx(100 * 11 / 12)


def test_sizes_of_nothing_are_none():
    same = [[0, 0], [0, 0], [30, 0]]  # the first pair is no torso: the second measures
    assert evaluate(PCKAccuracy(0.2), [person(same, same)])["pck/people"] == 1
    flat = person(TRUTH, TRUTH)
    flat["gt_instances"]["bboxes"] = np.array([[5, 5, 5, 5.0]])
    assert evaluate(PCKAccuracy(norm_item="bbox"), [flat])["pck/people"] == 0
    empty = person(TRUTH, TRUTH, head_size=0.0)
    assert evaluate(PCKAccuracy(norm_item="head"), [empty])["pck/people"] == 0


def test_nobody_is_no_error():
    assert PCKAccuracy().compute_metrics([]) == dict(mean=0.0, people=0)
    assert MpiiPCKAccuracy().compute_metrics([]) == {"PCKh": 0.0, "PCKh@0.1": 0.0}
