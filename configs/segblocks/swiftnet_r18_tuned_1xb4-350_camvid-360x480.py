"""SwiftNet, dense, tuned on by SegBlocks' schedule.

Run once it is where SegBlocks starts. Run again on what the first run gave (``load_from=...``), it
is what SegBlocks is compared with: as many iterations, all of them dense.
"""

_base_ = ["./swiftnet_r18_1xb4-900_camvid-360x480.py"]

load_from = "work_dirs/swiftnet_r18_1xb4-900_camvid-360x480/iter_900.pth"
model = dict(backbone=dict(init_cfg=None))
iters = 350
optim_wrapper = dict(optimizer=dict(lr=4e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=1e-6, begin=20, end=iters, by_epoch=False),
]
train_cfg = dict(max_iters=iters, val_interval=iters)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=50))
