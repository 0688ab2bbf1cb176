"""The one line over stock Faster R-CNN."""

_base_ = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
model = dict(type="mmdyn.BlockCopy", host="FasterRCNN", budget=0.3)
