"""Convolution over packed blocks with its epilogue: norm folded, residual and activation fused."""

from mmdyn.ops.conv.cpu import PackedConv
from mmdyn.ops.conv.reference import Epilogue, conv_taps, fold_norm

__all__ = ["Epilogue", "PackedConv", "conv_taps", "fold_norm"]
