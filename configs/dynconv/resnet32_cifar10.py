"""ResNet-32 with shortcuts that only pad: the network of the published CIFAR-10 weights.

    python tools/model_converters/cifar_resnet.py cifar10_resnet32-d509ac18.th \\
        work_dirs/pretrained/resnet32_cifar10.pth
    python tools/test.py configs/dynconv/resnet32_cifar10.py \\
        work_dirs/pretrained/resnet32_cifar10.pth
"""

_base_ = [
    "../_base_/models/resnet32_cifar.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cifar10_bs256_350e.py",
    "../_base_/mmdyn_runtime.py",
]
model = dict(
    backbone=dict(shortcut="pad"),
    # The statistics of ImageNet: what the weights were trained with.
    data_preprocessor=dict(
        type="ClsDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
)
