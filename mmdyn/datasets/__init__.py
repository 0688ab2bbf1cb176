"""Clips and videos for mmdet and mmseg; what needs an absent package is left out."""

from mmdyn.datasets import clip_sampler
from mmdyn.optional import import_available

import_available(
    __name__,
    mmcv=("frame_folder", "video_file"),
    mmseg=("camvid", "cityscapes_video", "pack_video_seg"),
    mmdet=("coco_video", "pack_video_det"),
)

__all__ = ["clip_sampler"]
