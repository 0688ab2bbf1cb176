"""ResNet-32 with gates at half of the arithmetic, fine-tuned on from 0.7."""

_base_ = ["./resnet32-dynconv_s07_1xb64-300_cifar10.py"]
model = dict(budget=0.5)
load_from = "work_dirs/resnet32-dynconv_s07_1xb64-300_cifar10/iter_300.pth"
