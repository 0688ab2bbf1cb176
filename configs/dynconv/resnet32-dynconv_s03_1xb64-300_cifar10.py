"""ResNet-32 with gates at 0.3 of the arithmetic, fine-tuned on from 0.5."""

_base_ = ["./resnet32-dynconv_s07_1xb64-300_cifar10.py"]
model = dict(budget=0.3)
load_from = "work_dirs/resnet32-dynconv_s05_1xb64-300_cifar10/iter_300.pth"
