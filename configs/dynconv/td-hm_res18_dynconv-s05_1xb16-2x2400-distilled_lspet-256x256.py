"""Gates at half of the arithmetic of the pose network, 2400 iterations more without noise."""

_base_ = ["./td-hm_res18_dynconv-s05_1xb16-2400-distilled_lspet-256x256.py"]
model = dict(noise_until=0.0)
load_from = "work_dirs/td-hm_res18_dynconv-s05_1xb16-2400-distilled_lspet-256x256/iter_2400.pth"
default_hooks = dict(distill=dict(weight=2.0))
