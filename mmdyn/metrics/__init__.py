"""Stock metrics on videos, those of other tasks, and what a block-sparse run costs."""

from mmdyn.metrics import accuracy, block_stats, miss_rate, pck
from mmdyn.optional import import_available

import_available(
    __name__,
    pycocotools=("coco_keypoint",),
    mmseg=("video_iou", "video_cityscapes"),
    mmdet=("video_coco",),
)

__all__ = ["accuracy", "block_stats", "miss_rate", "pck"]
