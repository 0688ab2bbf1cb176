"""SwiftNet with a ResNet-50, dense, on Cityscapes."""

_base_ = "./swiftnet_r18_1xb8-350e_cityscapes-1024x2048.py"
model = dict(
    backbone=dict(
        depth=50,
        init_cfg=dict(checkpoint="https://download.pytorch.org/models/resnet50-0676ba61.pth"),
    ),
    decode_head=dict(in_channels=[256, 512, 1024, 2048]),
)
