"""SwiftNet with an EfficientNet-Lite1, dense, on Cityscapes; hard pixels are trained on.

A pixel is hard where the right class has a probability below exp(-0.3), or is among the 4096
worst of its image. Set ``model.backbone.init_cfg`` to ImageNet weights of your own.
"""

_base_ = "./swiftnet_r18_1xb8-350e_cityscapes-1024x2048.py"
model = dict(
    backbone=dict(_delete_=True, type="mmdyn.EfficientNetLite", variant="lite1"),
    decode_head=dict(
        in_channels=[24, 40, 112, 320],
        channels=48,
        sampler=dict(type="OHEMPixelSampler", thresh=0.7408, min_kept=4096),
    ),
)
