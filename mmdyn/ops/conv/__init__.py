"""Convolution over packed blocks with its epilogue: norm folded, residual and activation fused."""

from mmdyn.ops.conv.cpu import PackedConv
from mmdyn.ops.conv.in_place import halo_means, reads_in_place
from mmdyn.ops.conv.linear import PackedLinear, TapConv
from mmdyn.ops.conv.packed import tiles_serve
from mmdyn.ops.conv.reference import Epilogue, Windows, fold_norm

__all__ = [
    "Epilogue",
    "PackedConv",
    "PackedLinear",
    "TapConv",
    "Windows",
    "fold_norm",
    "halo_means",
    "reads_in_place",
    "tiles_serve",
]
