"""When the stock network takes over, and when blocks do again; the clock is a list of numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdyn.conversion.break_even import BreakEven, BreakEvenTable


def warm(dense: float = 100.0, shares=()) -> BreakEven:
    """Past its warm-up, with the stock network's time known and times of some shares."""
    return BreakEven([dense], [(0.99, dense), *shares] if shares else [(1.0, dense)])


def frames_until_dense(times: BreakEven, share: float, ms: float, most: int = 1000) -> int | None:
    for frame in range(1, most + 1):
        if times.ran_on_blocks(share, ms):
            return frame
    return None


def test_blocks_that_never_pay_are_left_once_the_price_of_switching_is_lost():
    times = BreakEven([10.0])
    # Eight frames to warm up, two until the third sample counts; a full frame is taken to cost
    # 20 + 0.7 * 10 ms, and 9.7 ms are lost in each: three are enough.
    assert frames_until_dense(times, 0.3, 20.0) == 8 + 2 + 3
    assert times.is_dense


@pytest.mark.parametrize("ms", [3.0, 9.0, 10.0, 10.2])
def test_blocks_that_pay_or_nearly_pay_stay(ms):
    times = BreakEven([10.0])
    assert frames_until_dense(times, 0.3, ms) is None and not times.is_dense


def test_nothing_is_decided_before_the_stock_network_was_timed():
    assert frames_until_dense(BreakEven(), 0.3, 1e6) is None


def test_slow_frames_of_the_warm_up_do_not_count():
    times = BreakEven([10.0])
    for _ in range(8):
        assert not times.ran_on_blocks(0.3, 1e5)
    assert frames_until_dense(times, 0.3, 4.0) is None


def test_a_disturbed_frame_changes_nothing():
    times = BreakEven([10.0])
    for _ in range(20):
        for ms in (4.0, 4.0, 300.0, 4.0, 4.0):
            assert not times.ran_on_blocks(0.3, ms)


def test_full_frames_now_and_then_are_paid_by_the_others():
    times = BreakEven([10.0])
    for _ in range(50):
        assert not times.ran_on_blocks(1.0, 13.0)
        assert not any(times.ran_on_blocks(0.3, 4.0) for _ in range(4))
    assert frames_until_dense(times, 1.0, 13.0) is not None


def test_blocks_take_over_again_when_the_stock_network_became_slow():
    times = BreakEven([10.0])
    assert frames_until_dense(times, 0.3, 20.0)
    assert not any(times.ran_dense(0.3, 10.0) for _ in range(200))
    assert any(times.ran_dense(0.3, 80.0) for _ in range(20)) and not times.is_dense


def test_times_of_unknown_shares():
    times = BreakEven([100.0], [(0.2, 30.0), (0.6, 80.0)])
    assert times.blocks(0.2) == 30.0 and times.blocks(0.6) == 80.0
    assert times.blocks(0.4) == pytest.approx(55.0)
    assert times.blocks(0.1) == pytest.approx(20.0) and times.blocks(1.0) == pytest.approx(120.0)
    assert BreakEven([100.0]).blocks(0.3) is None


@given(st.lists(st.floats(0.0, 1.0), min_size=30, max_size=120), st.floats(0.0, 40.0))
def test_no_more_is_lost_on_blocks_than_a_full_frame_and_one_more(shares, overhead):
    dense = 50.0
    times = BreakEven([dense], [(0.0, overhead), (1.0, overhead + dense)])
    lost = 0.0
    for share in shares:
        share = round(share, 2)
        ms = overhead + dense * share
        lost = max(lost + ms - 1.03 * dense, 0.0)
        if times.ran_on_blocks(share, ms):
            break
        assert lost <= times.blocks(1.0) + 1e-6
    assert lost <= 2 * times.blocks(1.0) + 1e-6


def test_the_table_keeps_sizes_apart_and_survives_a_run(tmp_path):
    path = str(tmp_path / "times.json")
    table = BreakEvenTable("Net", path)
    small, large = table.of((1, 3, 64, 64)), table.of((1, 3, 128, 128))
    assert small is table.of((1, 3, 64, 64)) and small is not large
    small.dense_ms.append(10.0)
    assert frames_until_dense(small, 0.3, 20.0)
    table.tell(small, (64, 64), 0.3)
    again = BreakEvenTable("Net", path)
    known = again.of((1, 3, 64, 64))
    assert known.dense == 10.0 and known.points() == [(0.3, 20.0)]
    assert frames_until_dense(known, 0.3, 20.0) == 3
    assert again.of((1, 3, 128, 128)).dense is None
    assert BreakEvenTable("Other", path).of((1, 3, 64, 64)).dense is None


def test_measuring_warms_up_first_and_once():
    ticks = iter([0.0, 0.010, 1.0, 1.012])
    table, calls = BreakEvenTable("Net", clock=lambda: next(ticks)), []
    times = table.of(("size",))
    for _ in range(2):
        table.measure(times, lambda: calls.append(1))
    assert len(calls) == 3 and times.dense == pytest.approx(11.0)
