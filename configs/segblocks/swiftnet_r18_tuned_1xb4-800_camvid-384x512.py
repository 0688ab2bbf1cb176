"""SwiftNet, dense, on CamVid: 800 iterations more, on crops that blocks of 64 pixels divide."""

_base_ = ["./swiftnet_r18_tuned_1xb4-350_camvid-360x480.py"]

load_from = "work_dirs/swiftnet_dense/iter_350.pth"
crop_size = (384, 512)
model = dict(data_preprocessor=dict(size=crop_size))
train_pipeline = _base_.train_pipeline
train_pipeline[3] = dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
iters = 800
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=1e-6, begin=20, end=iters, by_epoch=False),
]
train_cfg = dict(max_iters=iters, val_interval=iters)
