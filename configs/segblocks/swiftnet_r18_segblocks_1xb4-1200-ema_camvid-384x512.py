"""SwiftNet with SegBlocks on CamVid: 1200 iterations from the trained dense network, averaged."""

_base_ = ["./swiftnet_r18_tuned_1xb4-1200-ema_camvid-384x512.py"]

load_from = "work_dirs/swiftnet_r18_tuned_1xb4-1200-ema_camvid-384x512/iter_1200.pth"
model = dict(type="mmdyn.SegBlocks", host="EncoderDecoder", budget=0.2, block_size=64)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={"block_policy": dict(lr_mult=5.0)}))
