"""SwiftNet with a ResNet-18, dense, on Cityscapes: square crops, tested at the full size."""

_base_ = [
    "mmseg::_base_/datasets/cityscapes_1024x1024.py",
    "mmseg::_base_/default_runtime.py",
    "../_base_/models/swiftnet.py",
    "../_base_/schedules/swiftnet.py",
]

model = dict(
    backbone=dict(
        type="mmdyn.SwiftNetResNet",
        depth=18,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://download.pytorch.org/models/resnet18-f37072fd.pth",
        ),
    ),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(1024, 1024)),
    dict(type="RandomFlip", prob=0.5),
    dict(
        type="PhotoMetricDistortion",
        brightness_delta=32,
        contrast_range=(0.7, 1.3),
        saturation_range=(0.7, 1.3),
        hue_delta=18,
    ),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
log_processor = dict(by_epoch=True)
