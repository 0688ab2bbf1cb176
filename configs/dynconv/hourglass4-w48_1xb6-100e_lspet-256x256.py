"""MPII's recipe on Leeds Sports Pose, extended: 14 joints, width 48."""

_base_ = [
    "../_base_/models/mobile_hourglass.py",
    "../_base_/datasets/lspet.py",
    "../_base_/mmdyn_runtime.py",
]
model = dict(
    backbone=dict(num_joints=14, width=48),
    head=dict(in_channels=14, out_channels=14),
)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=2.5e-4, weight_decay=0.0))
param_scheduler = dict(type="MultiStepLR", by_epoch=True, milestones=[60, 90], gamma=0.1)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=100, val_interval=5)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
