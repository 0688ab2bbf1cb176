"""ResNet-32 from scratch, dense: the network and recipe that DynConv publishes."""

_base_ = [
    "../_base_/models/resnet32_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cifar10_bs256_350e.py",
    "../_base_/mmdyn_runtime.py",
]
model = dict(data_preprocessor={{_base_.data_preprocessor}})
