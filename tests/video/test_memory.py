"""What a stream remembers, and when it must not be believed."""

import copy
import pickle

import pytest
import torch

from mmdyn.blocks import BlockGrid, Level, StaleMemoryError
from mmdyn.video import FeatureMemory

LIKE = torch.zeros(1)


def grid(level, slots=(0,)):
    return BlockGrid.filled(level, len(slots), (2, 2), (4, 4), slots=list(slots))


def frame(memory, level, *keys, slots=(0,)):
    """One frame that touches the places named; returns their rows."""
    made = grid(level, slots)
    memory.begin(made)
    return [memory.rows(key, made, 3, 2, LIKE, 0.5) for key in keys]


def test_rows_and_maps_have_a_part_for_each_slot():
    memory = FeatureMemory()
    made = grid(Level.FULL, (2, 0))
    memory.begin(made)
    rows = memory.rows("a", made, 3, 5, LIKE, -1.0)
    maps = memory.maps("b", made, (5, 8, 8), LIKE)
    assert rows.shape == (1 + 3 * 4 * 3, 5) and bool((rows == -1).all())
    assert maps.shape == (3, 5, 8, 8) and maps.is_contiguous(memory_format=torch.channels_last)
    assert memory.nbytes == 4 * (rows.numel() + maps.numel())


def test_what_was_written_is_there_in_the_next_frame():
    memory = FeatureMemory()
    (rows,) = frame(memory, Level.FULL, "a")
    rows[1:] = torch.arange(24).view(12, 2).float()
    (again,) = frame(memory, Level.COPIED, "a")
    assert again is rows


def test_new_slots_do_not_disturb_old_ones():
    memory = FeatureMemory()
    (rows,) = frame(memory, Level.FULL, "a")
    rows[1:] = 7
    frame(memory, Level.FULL, "a", slots=(1,))
    (grown,) = frame(memory, Level.COPIED, "a")
    assert grown.shape[0] == 1 + 2 * 12
    assert bool((grown[1:13] == 7).all()) and bool((grown[13:] == 0.5).all())


@pytest.mark.parametrize("event", ["skipped", "forgotten", "new", "cleared", "other shape"])
def test_stale_memory_is_refused(event):
    memory = FeatureMemory()
    frame(memory, Level.FULL, "a", "b")
    if event == "skipped":
        frame(memory, Level.COPIED, "b")
    if event == "forgotten":
        memory.forget(0)
    if event == "cleared":
        memory.clear()
    with pytest.raises(StaleMemoryError, match="slot 0"):
        if event == "other shape":
            made = grid(Level.COPIED)
            memory.begin(made)
            memory.rows("a", made, 3, 4, LIKE, 0.0)
        else:
            frame(memory, Level.COPIED, "c" if event == "new" else "a")
    frame(memory, Level.FULL, "a")
    frame(memory, Level.COPIED, "a")


def test_one_slots_trouble_is_not_anothers():
    memory = FeatureMemory()
    frame(memory, Level.FULL, "a", slots=(0, 1))
    memory.forget(1)
    frame(memory, Level.COPIED, "a")
    with pytest.raises(StaleMemoryError, match="slot 1"):
        frame(memory, Level.COPIED, "a", slots=(1,))


def test_memory_is_not_copied_with_a_model():
    memory = FeatureMemory()
    frame(memory, Level.FULL, "a")
    assert copy.deepcopy(memory).nbytes == pickle.loads(pickle.dumps(memory)).nbytes == 0
