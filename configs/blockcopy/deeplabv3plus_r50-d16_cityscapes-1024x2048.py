"""Stock DeepLabV3+ R50 at output stride 16, dense: what the speed of BlockCopy is measured on.

The zoo has the R50 at stride 8 and the R101 at stride 16; this is the R50 with the R101's strides.
"""

_base_ = "mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb2-80k_cityscapes-512x1024.py"
model = dict(
    backbone=dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
    decode_head=dict(dilations=(1, 6, 12, 18)),
)
