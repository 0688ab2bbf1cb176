"""Gates in the trained hourglass2-w48_1xb8-3000_lspet-128x128.py, tuned 800 iterations more.

Tiles of 4 pixels: the finest map is 32x32.
"""

_base_ = ["./hourglass2-w48_1xb8-3000_lspet-128x128.py"]
model = dict(type="mmdyn.DynConv", host="TopdownPoseEstimator", budget=0.5, tile=4, weight=0.01)
load_from = "work_dirs/hourglass2-w48_1xb8-3000_lspet-128x128/iter_3000.pth"
iters = 800
optim_wrapper = dict(
    optimizer=dict(lr=5e-4, weight_decay=0.0),
    paramwise_cfg=dict(custom_keys=dict(dynconv_gate=dict(lr_mult=4.0, decay_mult=0.0))),
)
param_scheduler = [
    dict(type="CosineAnnealingLR", eta_min=1e-5, begin=0, end=iters, by_epoch=False),
]
train_cfg = dict(max_iters=iters, val_interval=iters)
default_hooks = dict(dynconv=dict(type="mmdyn.DynConvHook", batches=16))
