"""What half an hour of a shared CPU can train: 2 stacks of width 48 at 128x128, 3000 iterations."""

_base_ = ["./hourglass4-w48_1xb6-100e_lspet-256x256.py"]

codec = dict(
    type="mmdyn.MSRAHeatmap", input_size=(128, 128), heatmap_size=(32, 32), sigma=2, unbiased=True
)
model = dict(
    backbone=dict(num_stacks=2),
    head=dict(num_stages=2, decoder=codec),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmdyn.GetBBoxCenterScale", padding=1.25),
    dict(type="mmdyn.RandomPoseFlip"),
    dict(type="mmdyn.RandomBBoxTransform", scale_factor=(0.75, 1.25), rotate_factor=30),
    dict(type="mmdyn.TopdownAffine", input_size=codec["input_size"]),
    dict(type="mmdyn.GenerateTarget", encoder=codec),
    dict(type="mmdyn.PackPoseInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmdyn.GetBBoxCenterScale", padding=1.25),
    dict(type="mmdyn.TopdownAffine", input_size=codec["input_size"]),
    dict(type="mmdyn.PackPoseInputs"),
]
train_dataloader = dict(
    batch_size=8,
    sampler=dict(_delete_=True, type="InfiniteSampler", shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

iters = 3000
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=1e-5, begin=50, end=iters, by_epoch=False),
]
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=iters, val_interval=1500)
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=20, log_metric_by_epoch=False),
    channels_last=dict(type="mmdyn.ChannelsLastHook"),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=100, max_keep_ckpts=2),
)
log_processor = dict(by_epoch=False)
