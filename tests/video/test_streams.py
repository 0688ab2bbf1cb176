"""Streams get a slot and keep it."""

import copy

import pytest

from mmdyn.video import StreamTable


def slots(table, *batch):
    return [state.slot for state in table.states_of(list(batch))]


def test_a_stream_keeps_its_slot_wherever_it_stands():
    table = StreamTable()
    assert slots(table, "a", "b") == [0, 1]
    assert slots(table, "b", "a") == [1, 0]
    assert slots(table, "b") == [1]


def test_the_next_clip_takes_the_place_of_the_last():
    table = StreamTable()
    for clip in "abcdef":
        assert slots(table, clip) == [0]
        assert slots(table, clip) == [0]
    assert len(table.states) == 1


def test_streams_that_take_turns_get_slots_of_their_own():
    table = StreamTable()
    slots(table, "a"), slots(table, "b")
    first, second = slots(table, "a"), slots(table, "b")
    assert first != second
    for _ in range(3):
        assert (slots(table, "a"), slots(table, "b")) == (first, second)


def test_a_stream_that_lost_its_place_and_comes_back_is_told_once(caplog):
    table = StreamTable()
    for name in "abcab":
        slots(table, name)
    assert len(caplog.records) == 1 and "'a' comes back" in caplog.text
    assert "memory of their own" in caplog.text


@pytest.mark.parametrize("streams", ["ab", "abc", "abcd"])
def test_no_two_streams_share_a_slot(streams):
    table = StreamTable(max_streams=3)
    for turn in range(12):
        slots(table, streams[turn % len(streams)])
        held = [state.slot for state in table.states.values()]
        assert len(set(held)) == len(held) <= 3 and max(held) < 3


def test_too_many_streams_warn_once_and_the_idle_one_leaves(caplog):
    table = StreamTable(max_streams=2)
    slots(table, "a", "b")
    for _ in range(3):
        for stream in "abc":
            slots(table, stream)
    assert caplog.text.count("raise max_streams") <= 1
    with pytest.raises(ValueError, match="max_streams=2: raise it"):
        slots(table, "a", "b", "c")


def test_two_frames_of_one_stream_are_refused():
    with pytest.raises(ValueError, match="two frames of one stream"):
        slots(StreamTable(), "a", "a")


def test_dropping():
    table = StreamTable()
    state = table.states_of(["a"])[0]
    state.frames, state.frame = 5, 9
    table.drop("a")
    assert (state.frames, state.frame) == (0, None)
    with pytest.raises(KeyError, match="known: a"):
        table.drop("b")
    table.drop()
    assert not table.states


def test_a_restart_keeps_the_clip_and_its_budget():
    class Controller:
        resets = 0

        def reset(self):
            self.resets += 1

    state = StreamTable().states_of(["a"])[0]
    state.controller, state.frame, state.frames, state.task = Controller(), 7, 3, object()
    state.restart()
    assert (state.frame, state.frames, state.task, state.controller.resets) == (7, 0, None, 0)
    state.reset()
    assert (state.frame, state.controller.resets) == (None, 1)


def test_streams_are_not_copied_with_a_model():
    table = StreamTable(3)
    slots(table, "a")
    twin = copy.deepcopy(table)
    assert not twin.states and twin.max_streams == 3
