"""Mask R-CNN with BlockCopy: one line over mmdet's stock config, which its checkpoints fit."""

_base_ = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"
model = dict(type="mmdyn.BlockCopy", host="MaskRCNN", budget=0.3)
