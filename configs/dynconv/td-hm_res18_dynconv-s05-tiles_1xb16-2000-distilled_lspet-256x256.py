"""Gates on smaller tiles of the smaller maps: 2000 iterations, taught by the dense network."""

_base_ = ["./td-hm_res18_dynconv-s05_1xb16-2400-distilled_lspet-256x256.py"]
model = dict(tile=dict(_delete_=True, layer1=4, layer2=4, layer3=2, layer4=1))
iters = 2000
param_scheduler = [
    dict(type="CosineAnnealingLR", eta_min=1e-5, begin=0, end=iters, by_epoch=False),
]
train_cfg = dict(max_iters=iters, val_interval=500)
default_hooks = dict(distill=dict(weight=2.0))
