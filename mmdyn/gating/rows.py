"""Which rows of packed pixels a convolution reads: the index maths of sparse inference.

A map (N, C, H, W) is kept as rows (M + 1, C) of the M pixels that a mask picks, one zero row last:
it stands for everything outside the image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmdyn.gating.branch import ConvShape


class Places:
    """Pixels of a map that are computed, in the order of their rows.

    Args:
        flat: (M,) positions n * H * W + y * W + x.
        images, size: N, and (H, W).
    """

    def __init__(self, flat: Tensor, images: int, size: tuple[int, int]) -> None:
        self.flat, self.images, self.size = flat, images, size

    @classmethod
    def of(cls, mask: Tensor) -> Places:
        """Where a mask (N, 1, H, W) is open, row by row of the image."""
        flat = mask.flatten().nonzero().squeeze(1)
        return cls(flat, mask.shape[0], tuple(mask.shape[2:]))

    def __len__(self) -> int:
        return self.flat.shape[0]

    def per_image(self) -> Tensor:
        """(N,) how many of them lie in each image."""
        area = self.size[0] * self.size[1]
        if self.images == 1:
            return self.flat.new_tensor([len(self)])
        image = torch.div(self.flat, area, rounding_mode="floor")
        return torch.bincount(image, minlength=self.images)

    def table(self, padding: tuple[int, int], beyond: int = 0) -> tuple[Tensor, int, int]:
        """Row of every pixel of the padded map; what is not computed is the zero row.

        Args:
            padding: Above and below, left and right.
            beyond: Further pixels below and to the right.

        Returns:
            Flat table, and height and width of the padded map.
        """
        (up, left), (height, width) = padding, self.size
        tall, wide = height + 2 * up + beyond, width + 2 * left + beyond
        table = self.flat.new_full((self.images, tall, wide), len(self))
        rows = self.flat.new_full((self.images * height * width,), len(self))
        rows[self.flat] = torch.arange(len(self), device=self.flat.device)
        table[:, up : up + height, left : left + width] = rows.view(self.images, height, width)
        return table.flatten(), tall, wide

    def corners(self, stride: tuple[int, int], tall: int, wide: int) -> Tensor:
        """(M,) flat position in a padded input of the first pixel that each output reads."""
        height, width = self.size
        image = torch.div(self.flat, height * width, rounding_mode="floor")
        inside = self.flat - image * (height * width)
        y = torch.div(inside, width, rounding_mode="floor")
        x = inside - y * width
        return image * (tall * wide) + y * (stride[0] * wide) + x * stride[1]


def window(shape: ConvShape, outputs: int, wide: int, device) -> Tensor:
    """Flat offsets in a padded map of what `outputs` x `outputs` results of a convolution read.

    For one output these are its taps; for more, the whole rectangle under them.
    """

    def steps(kernel: int, stride: int, dilation: int) -> Tensor:
        if outputs == 1:
            return torch.arange(kernel, device=device) * dilation
        return torch.arange((outputs - 1) * stride + (kernel - 1) * dilation + 1, device=device)

    ys, xs = (steps(k, s, d) for k, s, d in zip(shape.kernel, shape.stride, shape.dilation))
    return (ys[:, None] * wide + xs[None, :]).flatten()


def tap_rows(inputs: Places, outputs: Places, shape: ConvShape) -> Tensor:
    """(M + 1, taps) rows of the input under each kernel tap; the last row reads only zeros."""
    table, tall, wide = inputs.table(shape.padding)
    corners = outputs.corners(shape.stride, tall, wide)
    found = table[corners[:, None] + window(shape, 1, wide, table.device)]
    return torch.cat([found, found.new_full((1, found.shape[1]), len(inputs))])


class Tiles:
    """Open tiles of a map, and the pixels in them.

    Args:
        mask: (N, 1, h, w) bool, one a tile.
        tile: Side of a tile in pixels.
        size: (H, W) of the map, whose last tiles may be cut.
    """

    def __init__(self, mask: Tensor, tile: int, size: tuple[int, int]) -> None:
        images, _, rows, columns = mask.shape
        self.tile = tile
        flat = mask.flatten().nonzero().squeeze(1)
        image = torch.div(flat, rows * columns, rounding_mode="floor")
        inside = flat - image * (rows * columns)
        self.image = image
        self.y = torch.div(inside, columns, rounding_mode="floor") * tile
        self.x = inside * tile - torch.div(self.y, tile, rounding_mode="floor") * columns * tile
        step = torch.arange(tile, device=flat.device)
        ys, xs = self.y[:, None, None] + step[:, None], self.x[:, None, None] + step[None, :]
        pixels = (image[:, None, None] * size[0] + ys) * size[1] + xs
        # Rows of the tiles' pixels that lie in the map; None where all of them do.
        self.kept: Tensor | None = None
        pixels = pixels.flatten()
        if size[0] % tile or size[1] % tile:
            valid = ((ys < size[0]) & (xs < size[1])).flatten()
            self.kept = valid.nonzero().squeeze(1)
            pixels = pixels[self.kept]
        self.places = Places(pixels, images, size)

    def window_rows(self, inputs: Places, shape: ConvShape) -> Tensor:
        """(tiles, side * side) rows of the input under each tile."""
        beyond = self.tile * max(shape.stride)
        table, tall, wide = inputs.table(shape.padding, beyond)
        corners = (self.image * tall + self.y * shape.stride[0]) * wide + self.x * shape.stride[1]
        return table[corners[:, None] + window(shape, self.tile, wide, table.device)]
