"""ResNet-32 with gates at 0.3 of the arithmetic, fine-tuned on from 0.5."""

_base_ = ["./resnet32-dynconv-s05_1xb128-6e_cifar10.py"]
model = dict(budget=0.3)
load_from = "work_dirs/resnet32-dynconv-s05_1xb128-6e_cifar10/epoch_6.pth"
param_scheduler = dict(T_max=10)
train_cfg = dict(max_epochs=10, val_interval=10)
