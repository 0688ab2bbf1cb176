"""SwiftNet with SegBlocks on CamVid: 800 iterations from the dense network, on such crops."""

_base_ = ["./swiftnet_r18_tuned_1xb4-800_camvid-384x512.py"]

model = dict(type="mmdyn.SegBlocks", host="EncoderDecoder", budget=0.2, block_size=64)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={"block_policy": dict(lr_mult=5.0)}))
