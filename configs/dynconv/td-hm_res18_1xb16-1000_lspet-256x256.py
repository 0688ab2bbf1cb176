"""A simple pose network from ImageNet's weights on Leeds Sports Pose, extended: 16 epochs.

``work_dirs/pretrained/resnet18.pth`` comes from tools/model_converters/resnet18_folded.py.
"""

_base_ = [
    "../_base_/models/pose_resnet18.py",
    "../_base_/datasets/lspet.py",
    "../_base_/mmdyn_runtime.py",
]
model = dict(head=dict(out_channels=14))
train_dataloader = dict(
    batch_size=16, sampler=dict(_delete_=True, type="InfiniteSampler", shuffle=True)
)

iters = 1000
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=1e-5, begin=50, end=iters, by_epoch=False),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iters, val_interval=iters)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=20, log_metric_by_epoch=False),
    channels_last=dict(type="mmdyn.ChannelsLastHook"),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=100, max_keep_ckpts=2),
)
log_processor = dict(by_epoch=False)
