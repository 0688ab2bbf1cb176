"""ResNet-32 with gates at half of the arithmetic, from 0.7: 14 epochs, weights averaged."""

_base_ = ["./resnet32-dynconv-s07_1xb128-14e-ema_cifar10.py"]
model = dict(budget=0.5)
load_from = "work_dirs/resnet32-dynconv-s07_1xb128-14e-ema_cifar10/epoch_14.pth"
