"""SwiftNet with SegBlocks on CamVid: 1200 iterations more, of which weights are averaged."""

_base_ = ["./swiftnet_r18_tuned_1xb4-1200-ema_camvid-384x512.py"]

load_from = "work_dirs/swiftnet_r18_segblocks_1xb4-800_camvid-384x512/iter_800.pth"
model = dict(type="mmdyn.SegBlocks", host="EncoderDecoder", budget=0.2, block_size=64)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={"block_policy": dict(lr_mult=5.0)}))
