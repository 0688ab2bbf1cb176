"""When the stock network takes over, and when blocks do again; the clock is a list of numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdyn.conversion.break_even import BreakEven, BreakEvenTable


def warm(dense: float = 10.0, shares=()) -> BreakEven:
    """Past its warm-up, with the stock network's time known and perhaps times of some shares."""
    times = BreakEven([dense], shares)
    for _ in range(8):
        assert not times.ran_on_blocks(1.0, 1e5)
    return times


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


def test_known_times_do_not_spare_the_warm_up():
    times = BreakEven([100.0] * 5, [(0.3, 35.0), (1.0, 110.0)])
    for share, ms in [(1.0, 220.0), (0.3, 80.0), (0.3, 80.0), *[(0.3, 250.0)] * 5]:
        assert not times.ran_on_blocks(share, ms)
    assert frames_until_dense(times, 0.3, 35.0) is None and times.blocks(0.3) == 35.0


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


def until_blocks(times: BreakEven, ms: float, most: int = 10**5) -> int:
    return next(i for i in range(1, most) if times.ran_dense(0.3, ms))


def test_a_disturbance_does_not_leave_blocks_for_good():
    times = warm(100.0)
    assert frames_until_dense(times, 0.3, 35.0, most=20) is None
    assert frames_until_dense(times, 0.3, 140.0)  # somebody else took the machine
    assert until_blocks(times, 100.0) == 256 and times.on_trial and not times.is_dense
    assert not times.ran_on_blocks(1.0, 135.0)  # all blocks, for there is no memory
    assert frames_until_dense(times, 0.3, 35.0) is None and not times.on_trial
    assert times.blocks(0.3) == 35.0


def test_trials_become_rare_and_cost_a_few_frames():
    times, waits, lost = warm(10.0), [], []
    assert frames_until_dense(times, 0.3, 20.0)
    for _ in range(8):
        waits.append(until_blocks(times, 10.0))
        assert not times.ran_on_blocks(1.0, 27.0)
        lost.append(17.0 + 10.0 * frames_until_dense(times, 0.3, 20.0))
    assert waits == [256, 512, 1024, 2048, 4096, 8192, 8192, 8192]
    assert set(lost) == {17.0 + 3 * 10.0}
    assert sum(lost) < 0.01 * 10.0 * sum(waits) * 2


def test_a_trial_that_blocks_win_begins_the_count_anew():
    times = warm(10.0)
    for ms in (20.0, 20.0):
        assert frames_until_dense(times, 0.3, ms)
        until_blocks(times, 10.0)
    assert frames_until_dense(times, 0.3, 4.0, most=50) is None
    assert frames_until_dense(times, 0.3, 40.0)
    assert until_blocks(times, 10.0) == 256


def test_times_of_unknown_shares():
    times = BreakEven([100.0], [(0.2, 30.0), (0.6, 80.0)])
    assert times.blocks(0.2) == 30.0 and times.blocks(0.6) == 80.0
    assert times.blocks(0.4) == pytest.approx(55.0)
    assert times.blocks(0.1) == pytest.approx(20.0) and times.blocks(1.0) == pytest.approx(120.0)
    assert BreakEven([100.0]).blocks(0.3) is None


@given(st.lists(st.floats(0.0, 1.0), min_size=30, max_size=120), st.floats(0.0, 40.0))
def test_no_more_is_lost_on_blocks_than_a_full_frame_and_one_more(shares, overhead):
    dense = 50.0
    times = warm(dense, [(0.0, overhead), (1.0, overhead + dense)])
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
    ticks = iter(range(100))
    table = BreakEvenTable("Net", path, clock=lambda: 0.010 * next(ticks))
    small, large = table.of((1, 3, 64, 64)), table.of((1, 3, 128, 128))
    assert small is table.of((1, 3, 64, 64)) and small is not large
    table.measure(small, lambda: None)
    assert frames_until_dense(small, 0.3, 20.0)
    table.tell(small, (64, 64), 0.3)
    again = BreakEvenTable("Net", path, clock=table.clock)
    known = again.of((1, 3, 64, 64))
    assert known.dense == pytest.approx(10.0) and known.points() == [(0.3, 20.0)]
    assert frames_until_dense(known, 0.3, 20.0) is None  # the stock network was not timed
    known = BreakEvenTable("Net", path, clock=table.clock).of((1, 3, 64, 64))
    again.measure(known, lambda: None)
    assert frames_until_dense(known, 0.3, 20.0) == 8 + 3
    assert again.of((1, 3, 128, 128)).dense is None
    assert BreakEvenTable("Other", path).of((1, 3, 64, 64)).dense is None


def test_measuring_warms_up_first_and_once():
    ticks = iter([0.0, 0.010, 1.0, 1.012])
    table, calls = BreakEvenTable("Net", clock=lambda: next(ticks)), []
    times = table.of(("size",))
    for _ in range(2):
        table.measure(times, lambda: calls.append(1))
    assert len(calls) == 3 and times.dense == pytest.approx(11.0)


def test_what_a_file_says_of_the_stock_network_is_replaced(tmp_path):
    path = tmp_path / "times.json"
    path.write_text('{"Net, size": {"dense_ms": [9e9, 9e9, 9e9, 9e9, 9e9], "block_ms": []}}')
    ticks = iter([0.0, 0.010, 1.0, 1.012])
    table = BreakEvenTable("Net", str(path), clock=lambda: next(ticks))
    times = table.of(("size",))
    assert times.dense == 9e9
    table.measure(times, lambda: None)
    assert times.dense == pytest.approx(11.0)


def test_the_file_is_written_when_blocks_pay_too(tmp_path):
    path = tmp_path / "times.json"
    table = BreakEvenTable("Net", str(path))
    times = table.of(("size",))
    for _ in range(11):
        assert not path.exists()
        times.dense_ms.append(100.0)
        assert not times.ran_on_blocks(0.3, 35.0)
        table.note(times)
    assert BreakEvenTable("Net", str(path)).of(("size",)).points() == [(0.3, 35.0)]
    written = path.stat().st_mtime_ns
    for share in (0.4, 0.5, 0.6):
        for _ in range(3):
            times.ran_on_blocks(share, 40.0)
            table.note(times)
    assert len(BreakEvenTable("Net", str(path)).of(("size",)).points()) == 3
    assert path.stat().st_mtime_ns > written and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"Net size": 3}', '{"Net size": {"dense_ms": [1]}}',
     '{"Net size": {"dense_ms": [NaN], "block_ms": []}}',
     '{"Net size": {"dense_ms": [1], "block_ms": [[0.3, "1"]]}}', '{"a": {"other": 1}}'],
)  # fmt: skip
def test_a_file_of_something_else_is_named(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="bad.json.*delete the file, or name another"):
        BreakEvenTable("Net", str(path))
    assert path.read_text() == text


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    for path in (tmp_path / "nowhere" / "times.json", tmp_path):
        with pytest.raises(ValueError, match=f"{path}.*make its folder"):
            BreakEvenTable("Net", str(path))


def test_a_file_that_can_no_longer_be_written_is_left(tmp_path, caplog):
    folder = tmp_path / "folder"
    folder.mkdir()
    table = BreakEvenTable("Net", str(folder / "times.json"))
    folder.rmdir()
    table.save()
    table.save()
    assert caplog.text.count("not kept any more") == 1
