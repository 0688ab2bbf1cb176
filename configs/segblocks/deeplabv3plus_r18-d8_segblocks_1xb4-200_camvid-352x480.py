"""DeepLabV3+ R18 with SegBlocks on CamVid, fine-tuned from the dense network for a few minutes.

``model.budget=0.2`` and ``model.policy=heuristic`` (random, centre, oracle, all-full, all-half)
change the decision. Blocks of 64x80 pixels: the height is padded to 384, six by six blocks.
"""

_base_ = ["../blockcopy/deeplabv3plus_r18-d8_1xb4-1200_camvid-352x480.py"]

load_from = "checkpoints/deeplabv3plus_r18-d8_1xb4-1200_camvid-352x480.pth"
model = dict(
    type="mmdyn.SegBlocks",
    host="EncoderDecoder",
    budget=0.4,
    block_size=(64, 80),
    backbone=dict(init_cfg=None),
)
# All of test is evaluated; the policy learns faster than the fine-tuned network may.
test_dataloader = dict(
    dataset=dict(
        img_suffix=".jpg",
        ann_file="test.txt",
        data_prefix=dict(img_path="test", seg_map_path="testannot"),
    )
)
iters = 200
optim_wrapper = dict(
    optimizer=dict(lr=2e-4), paramwise_cfg=dict(custom_keys={"block_policy": dict(lr_mult=10.0)})
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=10, by_epoch=False),
    dict(type="PolyLR", eta_min=1e-6, power=0.9, begin=10, end=iters, by_epoch=False),
]
train_cfg = dict(max_iters=iters, val_interval=iters)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=20))
