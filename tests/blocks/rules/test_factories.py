"""Tensors made beside a map, of its type: exact, plain, and without a look at its pixels."""

import pytest
import torch

from mmdyn.blocks import BlockTensor
from mmdyn.blocks.recording import Recorder
from tests.blocks.clips import Clip
from tests.blocks.rules.laws import BLOCK, check_frames, check_levels, half_of_cells, image_of

T = torch.Tensor
DOUBLE = torch.zeros((), dtype=torch.float64)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.new_zeros(2, 3),
        lambda x: x.new_zeros((2, 3), dtype=torch.long),
        lambda x: x.new_ones((0, 4)),
        lambda x: x.new_full((2,), 7.0),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: torch.arange(3).type_as(x),
    ],
)
def test_a_plain_tensor_is_made_without_turning_dense(make):
    image = image_of(half_of_cells(), BLOCK).double()
    clip = Clip(make, BLOCK)
    made, wanted = clip.run(image), make(image)
    assert not clip.frame.dense_sites
    assert type(made) is T and torch.equal(made, wanted) and made.dtype == wanted.dtype


def test_a_frame_without_executed_cells_has_its_type_too():
    image = image_of(half_of_cells(), BLOCK).double()
    clip = Clip(lambda x: x.new_zeros(2), BLOCK)
    clip.run(image)
    assert clip.run(image, "none").dtype == torch.float64


def test_a_map_takes_the_type_of_another_tensor_and_stays_in_blocks():
    for other in (lambda x: DOUBLE, lambda x: x.double()):
        check_frames(lambda x, other=other: x.type_as(other(x)))
        check_levels(lambda x, other=other: x.type_as(other(x)))


def test_new_values_from_a_map_are_refused_to_the_composite():
    image = image_of(half_of_cells(), BLOCK)
    clip = Clip(lambda x: x.new_full((2,), 1.0).new_tensor(x), BLOCK)
    with pytest.warns(UserWarning, match="sourceTensor"):
        out = clip.run(image)
    assert not isinstance(out, BlockTensor) and torch.equal(out, image)


def test_what_is_made_is_not_recorded():
    image = image_of(half_of_cells(), BLOCK)

    def watched(make):
        def run(x):
            recorder = Recorder(x.frame.grid, [x.blocks], {})
            with recorder:
                make(x)
            return recorder.reason

        return run

    for make in (lambda x: x.new_zeros(3), lambda x: torch.arange(3).type_as(x)):
        assert "beside the map" in Clip(watched(make), BLOCK).run(image)
