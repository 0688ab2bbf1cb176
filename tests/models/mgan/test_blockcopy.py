"""MGAN on blocks: exact, with backbone and RPN sparse and the RoI head on the composite."""

import pytest

pytest.importorskip("mmdet.models")

from mmdyn.conversion.hosts import parity, zoo
from tests.models.mgan.networks import small_mgan


def test_blocks_are_exact_and_only_the_proposals_see_the_whole_frame():
    model = small_mgan().eval()
    zoo.randomise(model)
    found = parity.measure(model, (128, 128), 64)
    assert not found.faults
    assert found.sparse_mac_share == 1.0
    assert {op.split(":")[0] for op in found.dense_ops} == {"__getitem__", "RoIAlign"}
