"""ResNet-32 with gates at 0.7 of the arithmetic: twelve epochs more, from a higher rate."""

_base_ = ["./resnet32-dynconv-s07_1xb128-12e_cifar10.py"]
load_from = "work_dirs/resnet32-dynconv-s07_1xb128-12e_cifar10/epoch_12.pth"
optim_wrapper = dict(optimizer=dict(lr=0.05))
