"""ResNet-32 with gates at half of the arithmetic: 24 epochs more, taught by the dense network.

Weights are averaged, and the rate falls to almost nothing.
"""

_base_ = ["./resnet32-dynconv-s05_1xb128-14e-ema_cifar10.py"]
model = dict(settle=0.0)
load_from = "checkpoints/resnet32-dynconv-s05_1xb128-14e-ema_cifar10.pth"
optim_wrapper = dict(optimizer=dict(lr=0.04))
param_scheduler = dict(T_max=24, eta_min=2e-4)
train_cfg = dict(max_epochs=24, val_interval=8)
default_hooks = dict(
    distill=dict(
        type="mmdyn.DistillHook",
        teacher="configs/dynconv/resnet32_cifar10.py",
        checkpoint="work_dirs/pretrained/resnet32_cifar10.pth",
        layers=("head.fc",),
        weight=0.25,
    )
)
