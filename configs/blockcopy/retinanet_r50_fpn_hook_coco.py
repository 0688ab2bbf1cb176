"""RetinaNet as it is in training; the hook converts it for a test and restores it after.

The same without a file: tools/test.py mmdet::retinanet/retinanet_r50_fpn_1x_coco.py CHECKPOINT
--cfg-options default_hooks.blockcopy.type=mmdyn.BlockCopyHook default_hooks.blockcopy.budget=0.3
"""

_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
default_hooks = dict(
    blockcopy=dict(type="mmdyn.BlockCopyHook", budget=0.3),
    block_visualization=dict(type="mmdyn.BlockVisualizationHook", interval=50),
)
