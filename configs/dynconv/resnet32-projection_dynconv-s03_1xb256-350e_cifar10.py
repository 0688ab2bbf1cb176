"""ResNet-32 from scratch with gates at 0.3."""

_base_ = ["./resnet32-projection_dynconv-s07_1xb256-350e_cifar10.py"]
model = dict(budget=0.3)
