"""Functions of one pixel that write: seen in every view, and in no result made before."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdyn.blocks.rules import elementwise
from tests.blocks.rules.laws import check_frames, coarse_of, masked_grids
from tests.blocks.rules.test_elementwise import KERNEL, OPERANDS, called, every_operand, reason_of

T = torch.Tensor

IN_PLACE = [
    *(called(function) for function in elementwise._UNARY_IN_PLACE),
    lambda x: x.add_(x), lambda x: x.__iadd__(1.5), lambda x: x.__isub__(x * 0.5),
    lambda x: x.__imul__(x), lambda x: x.__itruediv__(2.0), lambda x: x.masked_fill_(x > 1, 0.0),
    lambda x: x.lerp_(x * 2, 0.25), torch.relu_, T.relu_, F.relu_,
    lambda x: F.relu(x, inplace=True), lambda x: F.leaky_relu(x, 0.2, True),
    lambda x: F.hardtanh(x, 0.2, 1.1, True), lambda x: F.relu6(x, True),
    lambda x: F.silu(x, True), lambda x: F.hardswish(x, True), lambda x: F.hardsigmoid(x, True),
    lambda x: F.elu(x, 0.7, True), lambda x: F.selu(x, True), lambda x: F.celu(x, 0.7, True),
    lambda x: F.mish(x, True), lambda x: F.threshold(x, 1.0, 0.2, True),
]  # fmt: skip


@every_operand
@settings(max_examples=15)
@given(st.sampled_from([T.add_, T.sub_, T.mul_, T.div_, T.copy_]), masked_grids())
def test_any_operand_in_place(kind, function, grid):
    def apply(x):
        y = x.clone()
        view, kept = y[:, 1:3], F.conv2d(y, KERNEL[:, :, :1, :1])  # which has not run
        assert function(y, OPERANDS[kind](y)) is y
        return y, view, kept

    check_frames(apply, grid[1], grid[0], reason_of(kind), coarse_of)


@pytest.mark.parametrize("write", IN_PLACE)
def test_every_write_shows_in_views_and_not_in_results(write):
    def apply(x):
        y = x.clone()
        view, kept = y[:, 1:3], y + 0
        assert write(y) is y
        return y, view, kept

    check_frames(apply, prepare=coarse_of)


@pytest.mark.parametrize("write", [lambda x: x.mul_(x), lambda x: x.clamp_(0.6, 1.4)])
def test_writes_show_in_views_that_are_dense(write):
    def apply(x):
        y = x.clone()
        view = y[:, 2]
        write(y)
        return view, y

    cells = torch.ones(2, 2, 3, dtype=torch.bool)
    check_frames(apply, cells, reason="indexing that is not a slice of channels or a stride")


@pytest.mark.parametrize("write", IN_PLACE)
def test_every_write_into_a_convolution_that_has_not_run(write):
    def apply(x):
        y = F.conv2d(x, KERNEL, padding=1)
        kept = F.relu(y)
        assert write(y) is y
        return y, kept

    check_frames(apply, prepare=coarse_of)


def test_a_residual_written_after_it_was_added_is_added_as_it_was():
    def apply(x):
        other = x.clone()
        y = F.conv2d(x, KERNEL, padding=1)
        y += other
        other.zero_()
        return y, other

    check_frames(apply)


def test_blocks_written_into_a_dense_tensor_are_the_composite():
    def apply(x):
        total = torch.ones(tuple(x.shape))
        return total.add_(x).mul_(x), total

    check_frames(apply, reason="blocks written into a dense tensor")
