"""Adam with two groups of parameters: the pretrained encoder at a quarter of rate and decay."""

epochs = 350
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr=4e-4, betas=(0.5, 0.999), weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={"backbone": dict(lr_mult=0.25, decay_mult=0.25)}),
)
param_scheduler = [
    dict(
        type="CosineAnnealingLR",
        T_max=epochs,
        eta_min=1e-6,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=10)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=10, max_keep_ckpts=2, save_best="mIoU"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    memory_format=dict(type="mmdyn.ChannelsLastHook"),
    visualization=dict(type="SegVisualizationHook"),
)
