"""Functions of one pixel: each registered one, and every kind of operand."""

import operator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdyn.blocks.rules import elementwise
from tests.blocks.clips import Clip
from tests.blocks.rules.laws import (
    BLOCK,
    CHANNELS,
    NEITHER,
    check_frames,
    check_levels,
    coarse_of,
    half_of_cells,
    image_of,
    masked_grids,
)

T = torch.Tensor
KERNEL = torch.rand(CHANNELS, CHANNELS, 3, 3, generator=torch.Generator().manual_seed(0))

# Arguments after the map, for the functions that need some.
ARGUMENTS = {
    torch.clamp: (0.6, 1.4), T.clamp: (0.6, 1.4), T.clamp_: (0.6, 1.4), T.clamp_min_: (0.7,),
    T.clamp_max_: (1.2,), T.__pow__: (3,), T.pow: (1.5,), torch.pow: (2,), T.pow_: (1.5,),
    T.fill_: (0.3,), torch.full_like: (0.3,),
    F.threshold: (1.0, 0.2), F.elu: (0.7,), F.celu: (0.7,),
}  # fmt: skip
BOOLEAN = {T.__invert__, torch.logical_not}
UNDEFINED = {torch.empty_like}


def name_of(function) -> str:
    return getattr(function, "__qualname__", None) or function.__name__


def called(function):
    """The function of a map alone; of its signs where it takes booleans."""
    if function in BOOLEAN:
        return lambda x: function(x > 1)
    return lambda x: function(x, *ARGUMENTS.get(function, ()))


@pytest.mark.parametrize(
    "function", [f for f in elementwise._UNARY if f not in UNDEFINED], ids=name_of
)
def test_every_function_of_one_map(function):
    check_frames(called(function), prepare=coarse_of)
    check_levels(called(function), prepare=coarse_of)


@pytest.mark.parametrize(
    "function",
    [
        *(function for function, _ in elementwise._ACTIVATIONS),
        F.relu, F.leaky_relu, F.hardtanh, F.sigmoid,
        lambda x: F.prelu(x, torch.linspace(-1, 1, CHANNELS)),
        lambda x: F.dropout(x, 0.5, False),
    ],
)  # fmt: skip
def test_every_activation(function):
    check_frames(called(function))
    check_frames(lambda x: called(function)(F.conv2d(x, KERNEL - 0.5, padding=1)))
    check_levels(called(function))


def test_pixels_that_are_not_numbers():
    def apply(x):
        logs = x.log()
        return torch.isnan(logs), torch.isfinite(1 / x.relu()), logs.nan_to_num(7.0)

    check_frames(apply)
    check_levels(apply)


def of_shape(*letters, dtype=torch.float32):
    """Makes a dense operand whose sizes are the map's where `letters` name an axis."""

    def make(x):
        sizes = dict(zip("NCHW", x.shape, strict=True))
        shape = [sizes.get(letter, 1) for letter in letters]
        return torch.randint(1, 9, shape, generator=torch.Generator().manual_seed(3)).to(dtype) / 4

    return make


ON_BLOCKS = {
    "number": lambda x: 1.25,
    "no axes": lambda x: torch.tensor(1.25),
    "one element": of_shape("1"),
    "C11": of_shape(*"C11"),
    "1C11": of_shape(*"1C11"),
    "NC11": of_shape(*"NC11"),
    "NC11 double": of_shape(*"NC11", dtype=torch.float64),
    "N111": of_shape(*"N111"),
    "CHW": of_shape(*"CHW"),
    "11HW": of_shape(*"11HW"),
    "N1HW": of_shape(*"N1HW"),
    "1CHW": of_shape(*"1CHW"),
    "NCHW": of_shape(*"NCHW"),
    "blocks": lambda x: 2.25 - x,
    "blocks of one channel": lambda x: x[:, 1:2] * 1,
    "itself": lambda x: x,
}
REFUSED = {name: of_shape(*name) for name in ("W", "HW", "1C1W", "NCH1")}
OPERANDS = {**ON_BLOCKS, **REFUSED}
OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.gt,
    operator.ge, operator.lt, operator.le, operator.eq, operator.ne,
]  # fmt: skip
every_operand = pytest.mark.parametrize("kind", OPERANDS)


def reason_of(kind: str) -> str | None:
    return NEITHER if kind in REFUSED else None


@every_operand
@settings(max_examples=25)
@given(st.sampled_from(OPERATORS), st.booleans(), masked_grids())
def test_any_operand_on_either_side(kind, function, swapped, grid):
    def apply(x):
        pair = (x, OPERANDS[kind](x))
        return function(*pair[::-1] if swapped else pair)

    check_frames(apply, grid[1], grid[0], reason_of(kind), coarse_of)


@pytest.mark.parametrize("kind", ["NC11", "blocks"])
@pytest.mark.parametrize(
    "function",
    [
        torch.add, T.add, T.__add__, T.__radd__, torch.sub, T.sub, T.__sub__, T.__rsub__, torch.mul,
        T.mul, T.__mul__, T.__rmul__, torch.div, T.div, T.__truediv__, T.__rtruediv__, T.__rpow__,
        torch.maximum, T.maximum, torch.minimum, T.minimum, torch.true_divide, T.true_divide, T.ne,
        T.__gt__, T.__lt__, T.__ge__, T.__le__, T.__eq__, T.__ne__, T.gt, T.lt, T.ge, T.le,
        torch.eq, T.eq, torch.rsub, torch.ge, torch.gt, torch.le, torch.lt, torch.ne, torch.pow,
        T.pow,
    ],
    ids=name_of,
)  # fmt: skip
def test_every_function_of_two_maps(function, kind):
    check_frames(lambda x: function(x, OPERANDS[kind](x)), prepare=coarse_of)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, v: torch.add(F.conv2d(x, KERNEL, padding=1), v, alpha=2),
        lambda x, v: F.conv2d(x, KERNEL, padding=1).add_(v, alpha=2),
        lambda x, v: torch.sub(x, v, alpha=3),
        lambda x, v: torch.div(x, v, rounding_mode="floor"),
        lambda x, v: torch.where(x > 1, x, v),
        lambda x, v: torch.where(x > v, v, 0.0),
        lambda x, v: x.where(x > v, v),
        lambda x, v: torch.lerp(x, x * 2, v),
        lambda x, v: x.clone().lerp_(x * 2, v),
        lambda x, v: torch.addcmul(x, x, v, value=0.5),
        lambda x, v: x.masked_fill(x > v, 0.5),
        lambda x, v: x.clone().masked_fill_(x > v, 0.5),
        lambda x, v: (x > v) & (x < 2) | (v > 1),
        lambda x, v: torch.logical_or(torch.logical_and(x > v, x > 1), v > 1),
        lambda x, v: torch.clamp(x, v, v + 0.5),
        lambda x, v: x[:, :1] * v,
    ],
)
@pytest.mark.parametrize("kind", ["1C11", "NC11", "NCHW", "blocks"])
def test_functions_of_several_operands(function, kind):
    check_frames(lambda x: function(x, OPERANDS[kind](x)), prepare=coarse_of)


def test_maps_of_two_sizes_meet_on_the_composite():
    cells = torch.tensor([[[True]], [[False]]])
    check_frames(
        lambda x: x + F.max_pool2d(x, BLOCK), cells, reason="feature maps of different sizes"
    )


@pytest.mark.parametrize("operand", [torch.ones(1, 3, 1, 1), torch.ones(5, CHANNELS, 8, 18)])
def test_what_torch_refuses_is_refused(operand):
    image = image_of(half_of_cells(), BLOCK)
    for function in (torch.add, T.add_):
        for call in (function, lambda x, v, f=function: Clip(lambda y: f(y, v), BLOCK).run(x)):
            with pytest.raises(RuntimeError, match="size"):
                call(image, operand)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, v: torch.add(x, other=v),
        lambda x, v: torch.maximum(input=x, other=v),
        lambda x, v: x.clone().add_(other=v),
        lambda x, v: x.pow(exponent=v),
        lambda x, v: x.clamp(min=v),
        lambda x, v: x.clone().clamp_(v),
        lambda x, v: x.masked_fill(mask=x > v, value=0.5),
        lambda x, v: torch.where(x > v, input=x, other=v),
    ],
)
@pytest.mark.parametrize("kind", ["NC11", "blocks"])
def test_operands_by_keyword(function, kind):
    check_frames(lambda x: function(x, OPERANDS[kind](x)), prepare=coarse_of)
