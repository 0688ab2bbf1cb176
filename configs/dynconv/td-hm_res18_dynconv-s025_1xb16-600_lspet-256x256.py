"""A quarter of the arithmetic, 600 iterations from ``td-hm_res18_dynconv-s05_1xb16-1200``."""

_base_ = ["./td-hm_res18_dynconv-s05_1xb16-1200_lspet-256x256.py"]
model = dict(budget=0.25)
load_from = "work_dirs/td-hm_res18_dynconv-s05_1xb16-1200_lspet-256x256/iter_1200.pth"
iters = 600
param_scheduler = [
    dict(type="CosineAnnealingLR", eta_min=1e-5, begin=0, end=iters, by_epoch=False),
]
train_cfg = dict(max_iters=iters, val_interval=iters)
