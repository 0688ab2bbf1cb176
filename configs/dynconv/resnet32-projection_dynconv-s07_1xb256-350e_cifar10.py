"""ResNet-32 from scratch with gates at 0.7: the network and recipe that DynConv publishes.

Unlike there, the gates have no weight decay and meet the budget at test.
"""

_base_ = ["./resnet32-projection_1xb256-350e_cifar10.py"]
model = dict(
    type="mmdyn.DynConv",
    host="ImageClassifier",
    budget=0.7,
    gate="squeeze",
    temperature=1.0,
    noise_until=0.8,
    weight=10.0,
)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(dynconv_gate=dict(lr_mult=1.0, decay_mult=0.0)))
)
default_hooks = dict(dynconv=dict(type="mmdyn.DynConvHook"))
