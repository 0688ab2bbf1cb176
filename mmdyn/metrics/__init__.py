"""Stock metrics on videos, and what a block-sparse run costs."""

from mmdyn.optional import import_available
from mmdyn.metrics import block_stats

import_available(
    __name__,
    mmseg=("video_iou", "video_cityscapes"),
    mmdet=("video_coco",),
)

__all__ = ["block_stats"]
