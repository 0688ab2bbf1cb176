"""Gates in the tuned pose network, which also teaches: 2400 iterations, weights averaged."""

_base_ = ["./td-hm_res18_dynconv-s05_1xb16-1200_lspet-256x256.py"]
load_from = "work_dirs/td-hm_res18_tuned_1xb16-1200-ema_lspet-256x256/iter_1200.pth"
iters = 2400
param_scheduler = [
    dict(type="CosineAnnealingLR", eta_min=1e-5, begin=0, end=iters, by_epoch=False),
]
train_cfg = dict(max_iters=iters, val_interval=600)
default_hooks = dict(
    ema=dict(type="EMAHook", momentum=0.005, update_buffers=True),
    distill=dict(
        type="mmdyn.DistillHook",
        teacher="configs/dynconv/td-hm_res18_tuned_1xb16-1200-ema_lspet-256x256.py",
        checkpoint=load_from,
        layers=("head.final_layer",),
        loss="mse",
    ),
)
