"""Mask R-CNN whose backbone runs half of its arithmetic, on tiles of 8 x 8 pixels."""

_base_ = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"
model = dict(type="mmdyn.DynConv", host="MaskRCNN", budget=0.5, tile=8)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(dynconv_gate=dict(lr_mult=1.0, decay_mult=0.0)))
)
default_hooks = dict(dynconv=dict(type="mmdyn.DynConvHook"))
