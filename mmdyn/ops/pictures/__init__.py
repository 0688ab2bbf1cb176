"""Pictures made smaller for those who decide, and maps made larger."""

from mmdyn.ops.library import define
from mmdyn.ops.pictures import reference

__all__ = ["enlarge", "lost_detail", "shrink"]

shrink = define("shrink(Tensor image, int factor) -> Tensor", reference.shrink)
lost_detail = define("lost_detail(Tensor image) -> Tensor", reference.lost_detail)
enlarge = define("enlarge(Tensor windows, int rows, int columns) -> Tensor", reference.enlarge)
