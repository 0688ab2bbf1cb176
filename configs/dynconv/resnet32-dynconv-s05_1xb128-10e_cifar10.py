"""ResNet-32 with gates at half of the arithmetic, fine-tuned on from 0.7."""

_base_ = ["./resnet32-dynconv-s07_1xb128-2x12e_cifar10.py"]
model = dict(budget=0.5)
load_from = "work_dirs/resnet32-dynconv-s07_1xb128-2x12e_cifar10/epoch_12.pth"
param_scheduler = dict(T_max=10)
train_cfg = dict(max_epochs=10, val_interval=10)
