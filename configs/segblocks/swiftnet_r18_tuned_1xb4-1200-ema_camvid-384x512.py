"""SwiftNet, dense, on CamVid: 1200 iterations after the 800, of which weights are averaged."""

_base_ = ["./swiftnet_r18_tuned_1xb4-800_camvid-384x512.py"]

load_from = "work_dirs/swiftnet_r18_tuned_1xb4-800_camvid-384x512/iter_800.pth"
iters = 1200
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=1e-5, begin=20, end=iters, by_epoch=False),
]
train_cfg = dict(max_iters=iters, val_interval=iters)
default_hooks = dict(ema=dict(type="EMAHook", momentum=0.005, update_buffers=True))
