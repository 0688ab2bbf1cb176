"""ResNet-32 with gates at 0.7 of the arithmetic: 24 epochs more, of which weights are averaged."""

_base_ = ["./resnet32-dynconv-s07_1xb128-14e-ema_cifar10.py"]
load_from = "work_dirs/resnet32-dynconv-s07_1xb128-14e-ema_cifar10/epoch_14.pth"
param_scheduler = dict(T_max=24, eta_min=0.005)
train_cfg = dict(max_epochs=24, val_interval=6)
