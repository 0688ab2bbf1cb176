"""RetinaNet with BlockCopy and a policy that does not learn: the blocks whose pixels changed."""

_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
model = dict(
    type="mmdyn.BlockCopy",
    host="RetinaNet",
    budget=0.3,
    policy="frame_difference",
    learning=False,
)
