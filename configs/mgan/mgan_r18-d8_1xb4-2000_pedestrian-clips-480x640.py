"""A light MGAN: ResNet-18's first three stages at stride 8, on stills and parts of three clips.

Penn-Fudan's people have visible boxes, those of MOT15's clips count as wholly visible. 2000
iterations take half an hour on one CPU core with bfloat16 (``tools/train.py --amp``).
``work_dirs/pretrained/resnet18.pth`` comes from tools/model_converters/resnet18_folded.py.
"""

_base_ = [
    "mmdet::_base_/default_runtime.py",
    "../_base_/datasets/pedestrian_clips_480x640.py",
    "../_base_/models/mgan_vgg16.py",
]
model = dict(
    backbone=dict(
        _delete_=True,
        type="ResNet",
        depth=18,
        num_stages=3,
        strides=(1, 2, 1),
        dilations=(1, 1, 2),
        out_indices=(2,),
        frozen_stages=1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=True,
        style="pytorch",
        init_cfg=dict(type="Pretrained", checkpoint="work_dirs/pretrained/resnet18.pth"),
    ),
    rpn_head=dict(
        in_channels=256,
        feat_channels=128,
        anchor_generator=dict(scales=[2.5, 3.5, 5.0, 7.0, 10.0, 14.0, 19.0]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=256),
        attention=dict(in_channels=256, conv_channels=128),
        bbox_head=dict(in_channels=256, fc_out_channels=256),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=1000, max_per_img=200),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=100), rcnn=dict(score_thr=0.01)),
)

crops = [
    dict(type="LoadImageFromFile"),
    dict(type="mmdyn.LoadVisibleBoxes", with_bbox=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="RandomResize", scale=(640, 480), ratio_range=(0.5, 1.4), keep_ratio=True),
    dict(type="mmdyn.CropAroundBox", size=(320, 416), min_width=8),
    dict(
        type="mmdyn.PackVisibleBoxes",
        meta_keys=(*_base_.clips_keys, "flip", "flip_direction"),
    ),
]
people = dict(type="mmdyn.PedestrianDataset", min_visibility=0.2, pipeline=crops)
train_dataloader = _base_.clips_train_dataloader
train_dataloader["dataset"]["datasets"] = [
    dict(one, **people) for one in (_base_.clips_stills, *_base_.clips_frames)
]
val_dataloader = _base_.clips_test_dataloader
test_dataloader = _base_.clips_test_dataloader
val_evaluator = _base_.clips_evaluator
test_evaluator = _base_.clips_evaluator

iters = 2000
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=4e-4, weight_decay=1e-2),
    paramwise_cfg=dict(custom_keys={"backbone": dict(lr_mult=0.3)}),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=30, by_epoch=False),
    dict(type="PolyLR", eta_min=1e-6, power=0.9, begin=30, end=iters, by_epoch=False),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iters, val_interval=10**6)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=20, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=100, max_keep_ckpts=2),
    memory_format=dict(type="mmdyn.ChannelsLastHook"),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
