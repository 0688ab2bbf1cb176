"""Where sparse stops being faster, from two timings."""

import pytest
import torch

from mmdyn.conversion import choice as module
from mmdyn.conversion.choice import Choice, ChoiceTable, best_tiles

X = torch.zeros(1, 4, 16, 16)


def learnt(dense_s, sparse):
    found = Choice()
    for _ in range(2):  # the first warms up
        found.learn(X, dense_s, [(share, sparse(share)) for share in (0.25, 0.75)])
    (even,) = found.break_even.values()
    return found, even


def test_fixed_costs_are_not_taken_for_the_shares():
    found, even = learnt(5e-3, lambda share: 1e-3 + 10e-3 * share)
    assert even == pytest.approx(0.4)
    assert found.wanted(X, 0.39) == "sparse" and found.wanted(X, 0.41) == "dense"
    assert found.wanted(torch.zeros(1, 4, 64, 64), 0.39) == "both"


def test_numbers_of_images_within_a_factor_of_two_share_their_timing():
    found, wanted = Choice(), []
    for rois in (33, 40, 63, 34, 57, 48, 64):
        x = X.expand(rois, -1, -1, -1)
        wanted.append(found.wanted(x, 0.1))
        if wanted[-1] == "both":
            found.learn(x, 5e-3, [(0.25, 1e-3), (0.75, 2e-3)])
    assert wanted == ["both", "both", *["sparse"] * 4, "both"]


def test_always_and_never():
    assert learnt(5e-3, lambda share: 6e-3 + share * 1e-3)[1] == 0.0
    assert learnt(5e-3, lambda share: 1e-3 + share * 1e-3)[1] > 1.0
    assert learnt(5e-3, lambda share: 4e-3)[0].wanted(X, 1.0) == "sparse"
    assert learnt(5e-3, lambda share: 6e-3)[0].wanted(X, 0.0) == "dense"


def test_it_times_the_best_tiles_whatever_is_open_now(monkeypatch):
    clock, tried = [0.0], []
    monkeypatch.setattr(module, "_now", lambda x: clock[0])

    def dense():
        clock[0] += 5.0
        return "dense"

    def sparse(tiles):
        tried.append(tiles)
        clock[0] += 1.0 + 10.0 * float(tiles.float().mean())

    found, logits = Choice(), torch.randn(1, 1, 4, 4)
    for _ in range(2):
        assert found.measure(X, logits, dense, sparse) == "dense"
    assert list(found.break_even.values()) == [pytest.approx(0.4)]
    assert [int(t.sum()) for t in tried] == [4, 12] * 2
    assert float(logits[tried[0]].min()) >= float(logits[~tried[0]].max())


def test_equal_logits_have_best_tiles_too():
    assert int(best_tiles(torch.zeros(2, 1, 4, 4), 0.25).sum()) == 8
    assert int(best_tiles(torch.zeros(1, 1, 1, 1), 0.25).sum()) == 1


def test_timings_are_of_a_number_of_threads():
    found, before = learnt(5e-3, lambda share: 4e-3)[0], torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert found.wanted(X, 0.5) == "both"
    finally:
        torch.set_num_threads(before)
    assert found.wanted(X, 0.5) == "sparse"


def test_a_file_keeps_them_by_block_and_size(tmp_path):
    path = tmp_path / "blocks.json"
    table = ChoiceTable(path)
    one = Choice(table, "layer1.0")
    for _ in range(2):
        one.learn(X, 5e-3, [(share, 1e-3 + 10e-3 * share) for share in (0.25, 0.75)])
    assert not path.exists()
    table.call_ended()
    again = ChoiceTable(str(path))
    same, other = Choice(again, "layer1.0"), Choice(again, "layer1.1")
    assert same.wanted(X, 0.39) == "sparse" and same.wanted(X, 0.41) == "dense"
    assert list(same.dense_ms.values()) == [pytest.approx(5.0)]
    assert other.wanted(X, 0.39) == "both"
    assert same.wanted(torch.zeros(2, 4, 16, 16), 0.39) == "both"
    assert same.wanted(X.double(), 0.39) == "both"


def test_a_file_of_something_else_is_named(tmp_path):
    path = tmp_path / "bad.json"
    path.write_text('{"Net, size": {"dense_ms": [1.0], "block_ms": []}}')  # of dense_fallback
    with pytest.raises(ValueError, match="timings=.*bad.json.*delete the file, or name another"):
        ChoiceTable(path)


def test_what_is_kept_can_be_read_again(tmp_path):
    table = ChoiceTable(tmp_path / "blocks.json")
    found = Choice(table)
    for _ in range(2):
        found.learn(X, 1e300, [(0.25, 0.0), (0.75, 5e-324)])  # a share that is infinite
    table.call_ended()
    assert Choice(ChoiceTable(tmp_path / "blocks.json")).wanted(X, 1.0) == "sparse"
