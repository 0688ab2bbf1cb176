"""ResNet-32 with gates at 0.7 of the arithmetic, fine-tuned from the published weights."""

_base_ = ["./resnet32_cifar10.py"]
model = dict(
    type="mmdyn.DynConv", host="ImageClassifier", budget=0.7, gate="squeeze", noise_until=0.4
)
load_from = "work_dirs/pretrained/resnet32_cifar10.pth"
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(
    optimizer=dict(lr=0.03),
    paramwise_cfg=dict(custom_keys=dict(dynconv_gate=dict(decay_mult=0.0))),
)
param_scheduler = dict(
    _delete_=True,
    type="CosineAnnealingLR",
    by_epoch=True,
    T_max=12,
    eta_min=1e-4,
    convert_to_iter_based=True,
)
train_cfg = dict(max_epochs=12, val_interval=12)
default_hooks = dict(
    dynconv=dict(type="mmdyn.DynConvHook", batches=16),
    channels_last=dict(type="mmdyn.ChannelsLastHook"),
)
