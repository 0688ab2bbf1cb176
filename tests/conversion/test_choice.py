"""Where sparse stops being faster, from two timings."""

import pytest
import torch

from mmdyn.conversion import choice as module
from mmdyn.conversion.choice import Choice, best_tiles

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
