"""ResNet-32 with gates at 0.7 of the arithmetic, a short fine-tuning of the published weights."""

_base_ = ["./resnet32_cifar10.py"]
model = dict(
    type="mmdyn.DynConv", host="ImageClassifier", budget=0.7, gate="squeeze", noise_until=0.6
)
load_from = "work_dirs/pretrained/resnet32_cifar10.pth"
train_dataloader = dict(batch_size=64, num_workers=1, sampler=dict(type="InfiniteSampler"))
optim_wrapper = dict(
    optimizer=dict(lr=0.01),
    paramwise_cfg=dict(custom_keys=dict(dynconv_gate=dict(lr_mult=10.0, decay_mult=0.0))),
)
param_scheduler = dict(
    _delete_=True, type="CosineAnnealingLR", by_epoch=False, T_max=300, eta_min=1e-4
)
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=300, val_interval=1000)
default_hooks = dict(
    checkpoint=dict(interval=50, by_epoch=False, max_keep_ckpts=1),
    logger=dict(interval=20),
    channels_last=dict(type="mmdyn.ChannelsLastHook"),
)
log_processor = dict(by_epoch=False)
