"""Gates in the trained td-hm_res18_1xb16-1000_lspet-256x256.py, tuned 1200 iterations more."""

_base_ = ["./td-hm_res18_1xb16-1000_lspet-256x256.py"]
model = dict(
    type="mmdyn.DynConv",
    host="TopdownPoseEstimator",
    budget=0.5,
    tile=4,
    noise_until=0.4,
    settle=0.0,
    weight=0.01,
)
load_from = "work_dirs/td-hm_res18_1xb16-1000_lspet-256x256/iter_1000.pth"
iters = 1200
optim_wrapper = dict(
    optimizer=dict(lr=3e-4, weight_decay=0.0),
    paramwise_cfg=dict(custom_keys=dict(dynconv_gate=dict(lr_mult=10.0, decay_mult=0.0))),
)
param_scheduler = [
    dict(type="CosineAnnealingLR", eta_min=1e-5, begin=0, end=iters, by_epoch=False),
]
train_cfg = dict(max_iters=iters, val_interval=iters)
default_hooks = dict(dynconv=dict(type="mmdyn.DynConvHook", batches=16))
