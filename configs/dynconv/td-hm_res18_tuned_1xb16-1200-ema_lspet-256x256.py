"""The trained td-hm_res18_1xb16-1000_lspet-256x256.py, 1200 iterations more, weights averaged.

What gated networks that are tuned on have to be compared with.
"""

_base_ = ["./td-hm_res18_1xb16-1000_lspet-256x256.py"]
load_from = "work_dirs/td-hm_res18_1xb16-1000_lspet-256x256/iter_1000.pth"
iters = 1200
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type="CosineAnnealingLR", eta_min=1e-5, begin=0, end=iters, by_epoch=False),
]
train_cfg = dict(max_iters=iters, val_interval=300)
default_hooks = dict(ema=dict(type="EMAHook", momentum=0.005, update_buffers=True))
