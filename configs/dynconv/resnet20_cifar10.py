"""ResNet-20 with shortcuts that only pad: the network of the published CIFAR-10 weights."""

_base_ = ["./resnet32_cifar10.py"]
model = dict(backbone=dict(depth=20))
