"""Gates in the trained network of hourglass4-w48_1xb6-100e_lspet-256x256.py, 20 epochs more."""

_base_ = ["./hourglass4-w48_1xb6-100e_lspet-256x256.py"]
model = dict(
    type="mmdyn.DynConv",
    host="TopdownPoseEstimator",
    budget=0.25,
    tile=8,
    weight=0.01,
)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(dynconv_gate=dict(lr_mult=1.0, decay_mult=0.0)))
)
load_from = "work_dirs/hourglass4-w48_1xb6-100e_lspet-256x256/epoch_100.pth"
default_hooks = dict(dynconv=dict(type="mmdyn.DynConvHook"))
param_scheduler = dict(_delete_=True, type="MultiStepLR", by_epoch=True, milestones=[16], gamma=0.1)
train_cfg = dict(max_epochs=20)
