"""A gated block in evaluation: its branch on the rows of the open pixels only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _global_forward_hooks

from mmdyn.gating.branch import Branch, Step, shortcut_of
from mmdyn.gating.gate import enlarge
from mmdyn.gating.rows import Places, Tiles, tap_rows
from mmdyn.ops import cells
from mmdyn.ops.conv import PackedConv, PackedLinear, TapConv

# From this side on, a tile with its halo costs less to gather than the taps of its pixels.
_WINDOW_TILE = 4


class PackedStep:
    """One convolution of a branch, ready to run on rows.

    Args:
        step: Its description.
        weight, bias: Of the convolution, norm folded.
        tile: Side of the gate's tiles.
        last: Whether its outputs are just the open tiles.
    """

    def __init__(self, step: Step, weight: Tensor, bias: Tensor | None, tile: int, last: bool):
        self.shape, self.epilogue = step.shape, step.epilogue
        shape = step.shape
        self.windows = last and tile >= _WINDOW_TILE and not shape.pointwise
        self.conv = self.taps = self.linear = None
        if shape.pointwise and shape.groups == 1:
            self.linear = PackedLinear(weight.flatten(1).t().contiguous(), bias)
        elif not self.windows and (shape.groups == 1 or shape.depthwise):
            self.taps = TapConv(weight, bias, shape.depthwise)
        else:
            stride = shape.stride if self.windows else (1, 1)
            dilation = shape.dilation if self.windows else (1, 1)
            self.conv = PackedConv(weight, bias, stride, dilation, shape.groups)

    def __call__(self, rows: Tensor, inputs: Places, outputs: Places, tiles: Tiles | None):
        """(M + 1, Cin) of `inputs` to (M' + 1, Cout) of `outputs`; the last row is anything.

        Windows leave that row out: nothing after them reads it.
        """
        if self.linear is not None:
            if inputs is outputs:
                return self.linear(rows, self.epilogue)
            index = tap_rows(inputs, outputs, self.shape).squeeze(1)
            return self.linear.of_rows(rows, index, self.epilogue)
        if self.windows and tiles is not None:
            return self._windows(rows, inputs, tiles)
        index = tap_rows(inputs, outputs, self.shape)
        if len(rows) == len(inputs):  # windows left the last row out, and a 1x1 does not read it
            index = index[:-1]
        if self.taps is not None:
            return self.taps(rows, index, self.epilogue, None)
        return self._convolve(rows, index, self.shape.kernel)

    def of_map(self, flat: Tensor, index: Tensor) -> Tensor:
        """A matrix product on some pixels of a map (pixels, Cin): (len(index), Cout)."""
        return self.linear.of_rows(flat, index, self.epilogue)

    def _convolve(self, rows: Tensor, index: Tensor, side: tuple[int, int]) -> Tensor:
        """Convolves windows of (n, side * side) rows each; rows of all results."""
        out = self.conv.of_rows(rows, index, side, self.epilogue)
        return out.permute(0, 2, 3, 1).reshape(-1, out.shape[1])

    def _windows(self, rows: Tensor, inputs: Places, tiles: Tiles) -> Tensor:
        index = tiles.window_rows(inputs, self.shape)
        shape, tile = self.shape, tiles.tile
        height, width = (
            (tile - 1) * s + (k - 1) * d + 1
            for k, s, d in zip(shape.kernel, shape.stride, shape.dilation)
        )
        out = self._convolve(rows, index, (height, width))
        if tiles.kept is not None:
            out = out.index_select(0, tiles.kept)
        return out


@dataclass
class Rows:
    """What a sparse run computed.

    Attributes:
        values: (M, C) of the branch.
        places: Where they belong.
        computed: Positions that each convolution computed.
    """

    values: Tensor
    places: Places
    computed: list[Places]

    def macs_of_images(self, steps: tuple[Step, ...], images: int) -> Tensor:
        """(N,) multiply-accumulates of each image."""
        total = torch.zeros(images, dtype=torch.float64, device=self.values.device)
        for step, places in zip(steps, self.computed):
            total += places.per_image() * float(step.shape.macs)
        return total


class SparseBranch:
    """A branch whose weights are folded and packed for rows.

    Args:
        branch: The description.
        weights: (weight, bias) a step, norms folded.
        tile: Side of the gate's tiles.
    """

    def __init__(self, branch: Branch, weights: list, tile: int) -> None:
        self.branch, self.tile = branch, tile
        ends = [all(s.shape.pointwise and s.shape.stride == (1, 1) for s in branch.steps[i + 1 :])
                for i in range(len(branch.steps))]  # fmt: skip
        self.steps = [
            PackedStep(step, weight, bias, tile, last)
            for step, (weight, bias), last in zip(branch.steps, weights, ends)
        ]

    def __call__(self, x: Tensor, mask: Tensor) -> Rows:
        """Runs it.

        Args:
            x: (N, C, H, W), channels-last.
            mask: (N, 1, h, w) bool, one a tile of the output.
        """
        size = (x.shape[2], x.shape[3])
        out_size = self.branch.sizes(size)[-1]
        tiles = Tiles(mask, self.tile, out_size) if self.tile > 1 else None
        last = Places.of(mask) if tiles is None else tiles.places
        places = self._places(enlarge(mask, self.tile, out_size), size, last)
        if not len(last):
            empty = x.new_zeros(0, self.steps[-1].shape.out_channels)
            return Rows(empty, last, places[1:])
        flat = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        index = torch.cat([places[0].flat, places[0].flat.new_zeros(1)])
        steps = list(zip(self.steps, places, places[1:]))
        if self.steps[0].linear is not None and places[0] is places[1]:
            rows = steps.pop(0)[0].of_map(flat, index)
        else:
            rows = flat.index_select(0, index)
        for step, inputs, outputs in steps:
            if not step.shape.pointwise or inputs is not outputs:
                rows[-1].zero_()
            rows = step(rows, inputs, outputs, tiles)
        return Rows(rows[: len(last)], last, places[1:])

    def _places(self, mask: Tensor, size: tuple[int, int], last: Places) -> list[Places]:
        """Of the input and of every convolution; a 1x1 convolution shares its input's."""
        sizes, steps = self.branch.sizes(size), self.branch.steps
        wanted, places = mask.float(), [last]
        for step, before in zip(reversed(steps), reversed(sizes[:-1])):
            if step.shape.pointwise and step.shape.stride == (1, 1):
                places.append(places[-1])
                continue
            wanted = step.shape.read_by(wanted, before)
            places.append(Places.of(wanted))
        return places[::-1]


def add_rows(block: nn.Module, branch: Branch, x: Tensor, rows: Rows, in_place: bool) -> Tensor:
    """``after(shortcut(x) + branch)`` where the branch is known at some rows and zero elsewhere.

    Args:
        block: Gives the shortcut.
        branch: Its description.
        x: The block's input, channels-last.
        rows: Of the branch.
        in_place: Write into `x`, which nobody else reads and `after` leaves unchanged.

    Returns:
        (N, C', H', W'), channels-last.
    """
    other = shortcut_of(block, branch, x).contiguous(memory_format=torch.channels_last)
    if not in_place and _is_held(block, branch, x, other):
        other = other.clone()
    flat = other.permute(0, 2, 3, 1).reshape(-1, other.shape[1])
    by_row = in_place and branch.after.activation in (None, "relu")  # all others are as they shall
    relu = by_row and branch.after.activation == "relu"
    cells.add_rows(flat, rows.places.flat, rows.values.to(flat.dtype), relu)
    return other if by_row else branch.after(other, None)


def _is_held(block: nn.Module, branch: Branch, x: Tensor, other: Tensor) -> bool:
    """Whether somebody besides `add_rows` has the shortcut's output: the caller or a hook."""
    if other.untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
        return True  # the identity, or a module that is one
    if branch.shortcut is None:
        return False
    side = block.get_submodule(branch.shortcut)
    return any(m._forward_hooks for m in side.modules()) or bool(_global_forward_hooks)
