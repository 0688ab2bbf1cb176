"""Stock metrics on videos, the miss rate of pedestrians, and what a block-sparse run costs."""

from mmdyn.metrics import block_stats, miss_rate
from mmdyn.optional import import_available

import_available(
    __name__,
    mmseg=("video_iou", "video_cityscapes"),
    mmdet=("video_coco",),
)

__all__ = ["block_stats", "miss_rate"]
