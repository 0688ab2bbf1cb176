"""What a frame refuses, names and counts."""

import threading

import pytest
import torch

from mmdyn.blocks import BlockGrid, Frame, Level, StaleMemoryError, Tracker, split
from mmdyn.video import FeatureMemory


def grid(level=Level.FULL):
    return BlockGrid.filled(level, 1, (2, 2), (4, 4))


def test_copied_cells_need_a_memory():
    with pytest.raises(ValueError, match="FeatureMemory"):
        Frame(grid(Level.COPIED))


def test_copied_cells_need_a_frame_before():
    memory = FeatureMemory()
    memory.begin(grid(Level.COPIED))
    frame = Frame(grid(Level.COPIED), memory)
    with pytest.raises(StaleMemoryError, match="run a frame with all cells"):
        split(frame, torch.zeros(1, 1, 8, 8), (4, 4)).dense()


def test_keys_name_the_place_and_the_call():
    tracker = Tracker(["backbone.conv1"])
    frame = Frame(grid(), tracker=tracker)
    assert [frame.key("conv2d") for _ in range(2)] == [
        "backbone.conv1:conv2d:0", "backbone.conv1:conv2d:1",
    ]  # fmt: skip
    assert frame.key("mean") == "backbone.conv1:mean:0"


def test_strict_raises_naming_function_place_and_remedy():
    frame = Frame(grid(), tracker=Tracker(["neck"]), strict=True)
    x = split(frame, torch.randn(1, 2, 8, 8), (4, 4))
    with pytest.raises(NotImplementedError, match="cumsum at 'neck'.*strict=False"):
        x.cumsum(1)


def test_a_place_is_noted_once():
    x = split(Frame(grid()), torch.randn(1, 2, 8, 8), (4, 4))
    for _ in range(3):
        x.cumsum(1)
    assert [(s.path, s.op, s.reason) for s in x.frame.dense_sites.values()] == [
        ("", "cumsum", "no rule")
    ]


def test_one_thread_at_a_time_runs_a_network():
    tracker, inside, leave = Tracker(), threading.Event(), threading.Event()

    def other():
        with tracker.alone():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    with pytest.raises(RuntimeError, match="another thread is in this one"), tracker.alone():
        pass
    leave.set()
    thread.join()
    with tracker.alone(), tracker.alone():  # a call within a call
        assert tracker.owner == threading.get_ident()
    assert tracker.owner is None
