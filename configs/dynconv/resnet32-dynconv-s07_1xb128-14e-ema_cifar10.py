"""ResNet-32 with gates at 0.7 of the arithmetic: 14 epochs more, of which weights are averaged."""

_base_ = ["./resnet32-dynconv-s07_1xb128-2x12e_cifar10.py"]
load_from = "work_dirs/resnet32-dynconv-s07_1xb128-2x12e_cifar10/epoch_12.pth"
param_scheduler = dict(T_max=14, eta_min=0.01)
train_cfg = dict(max_epochs=14, val_interval=7)
default_hooks = dict(ema=dict(type="EMAHook", momentum=0.0007, update_buffers=True))
