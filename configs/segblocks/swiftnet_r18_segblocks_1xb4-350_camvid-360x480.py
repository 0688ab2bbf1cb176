"""SwiftNet with SegBlocks on CamVid, fine-tuned from the dense network; the policy learns with it.

``model.budget=0.4`` and ``model.policy=heuristic`` (random, centre, oracle, all-full, all-half)
change the decision. Blocks of 64 pixels: images are padded to 384x512, six by eight blocks.
"""

_base_ = ["./swiftnet_r18_1xb4-900_camvid-360x480.py"]

load_from = "work_dirs/swiftnet_r18_tuned_1xb4-350_camvid-360x480/iter_350.pth"
model = dict(
    type="mmdyn.SegBlocks",
    host="EncoderDecoder",
    budget=0.2,
    block_size=64,
    backbone=dict(init_cfg=None),
)
iters = 350
optim_wrapper = dict(
    optimizer=dict(lr=4e-4), paramwise_cfg=dict(custom_keys={"block_policy": dict(lr_mult=5.0)})
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=1e-6, begin=20, end=iters, by_epoch=False),
]
train_cfg = dict(max_iters=iters, val_interval=iters)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=50))
