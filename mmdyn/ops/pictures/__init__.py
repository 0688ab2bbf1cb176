"""Pictures made smaller for those who decide, and maps made larger."""

from mmdyn.ops.library import define
from mmdyn.ops.pictures import reference

__all__ = ["enlarge", "patch_statistics", "shrink"]

shrink = define("shrink(Tensor image, int factor) -> Tensor", reference.shrink)
patch_statistics = define(
    "patch_statistics(Tensor image, int step) -> (Tensor, Tensor, Tensor)",
    reference.patch_statistics,
)
enlarge = define("enlarge(Tensor windows, int rows, int columns) -> Tensor", reference.enlarge)
