"""Clips, videos and labelled images; what needs an absent package is left out."""

from mmdyn.datasets import cifar10, clip_sampler
from mmdyn.optional import import_available

import_available(
    __name__,
    mmcv=("classification", "pose", "frame_folder", "video_file"),
    mmseg=("camvid", "cityscapes_video", "pack_video_seg"),
    mmdet=("coco_video", "crop_around_box", "pack_video_det", "pedestrians", "visible_boxes"),
)

__all__ = ["cifar10", "clip_sampler"]
