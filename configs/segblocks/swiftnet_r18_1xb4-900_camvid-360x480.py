"""SwiftNet with a ResNet-18, dense, on CamVid: a short schedule, batch 4.

``work_dirs/pretrained/resnet18.pth`` comes from tools/model_converters/resnet18_folded.py, which
lacks most of layer4: that is trained at the decoder's rate. ``model.backbone.init_cfg=None`` trains
from scratch. ``--amp`` pays on CPUs with bfloat16 instructions and costs much on others.
"""

_base_ = [
    "../_base_/mmseg_runtime.py",
    "../_base_/datasets/camvid-test_360x480.py",
    "../_base_/models/swiftnet.py",
    "../_base_/schedules/swiftnet.py",
]

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        size=(384, 480),
        test_cfg=dict(size_divisor=32),
    ),
    backbone=dict(
        type="mmdyn.SwiftNetResNet",
        depth=18,
        init_cfg=dict(type="Pretrained", checkpoint="work_dirs/pretrained/resnet18.pth"),
    ),
    # A short schedule: the norms' averages must follow within it.
    decode_head=dict(
        in_channels=[64, 128, 256, 512],
        num_classes=11,
        norm_cfg=dict(type="BN", momentum=0.1),
        pyramid_norm_cfg=dict(type="BN", momentum=0.05),
    ),
)

iters = 900
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(custom_keys={"backbone.layer4": dict(lr_mult=1.0)}),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=1e-6, begin=50, end=iters, by_epoch=False),
]
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=iters, val_interval=iters)
default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=False),
    checkpoint=dict(
        _delete_=True, type="CheckpointHook", by_epoch=False, interval=100, max_keep_ckpts=2
    ),
)
randomness = dict(seed=0)
