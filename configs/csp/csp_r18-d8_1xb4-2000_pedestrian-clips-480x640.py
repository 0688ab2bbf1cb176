"""A small CSP on a ResNet-18 of stride 8, three stages and the last dilated; learns widths too.

2000 iterations take half an hour on one CPU core with bfloat16 (``tools/train.py --amp``).
``work_dirs/pretrained/resnet18.pth`` comes from tools/model_converters/resnet18_folded.py; set
``model.backbone.init_cfg=None`` to train from scratch.
"""

_base_ = [
    "mmdet::_base_/default_runtime.py",
    "../_base_/models/csp_r50.py",
    "../_base_/datasets/pedestrian_clips_480x640.py",
]

model = dict(
    backbone=dict(
        depth=18,
        num_stages=3,
        strides=(1, 2, 1),
        dilations=(1, 1, 2),
        out_indices=(1, 2),
        frozen_stages=1,
        init_cfg=dict(type="Pretrained", checkpoint="work_dirs/pretrained/resnet18.pth"),
    ),
    neck=dict(in_channels=(128, 256), strides=(8, 8), out_channels=128),
    bbox_head=dict(
        in_channels=256,
        feat_channels=128,
        predict_width=True,
        norm_cfg=dict(type="GN", num_groups=16),
    ),
    test_cfg=dict(score_thr=0.01),
)
train_dataloader = _base_.clips_train_dataloader
val_dataloader = _base_.clips_test_dataloader
test_dataloader = _base_.clips_test_dataloader
val_evaluator = _base_.clips_evaluator
test_evaluator = _base_.clips_evaluator

iters = 2000
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={"backbone": dict(lr_mult=0.3)}, norm_decay_mult=0.0),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type="PolyLR", eta_min=1e-6, power=0.9, begin=50, end=iters, by_epoch=False),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iters, val_interval=10**6)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=10, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=100, max_keep_ckpts=2),
    ema=dict(type="EMAHook", momentum=0.01, update_buffers=True),
    memory_format=dict(type="mmdyn.ChannelsLastHook"),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
