"""The demo's network with BlockCopy: share executed, GMACs and milliseconds in the result."""

_base_ = "./deeplabv3plus_r18-half_1xb4-240_street-384x768.py"
model = dict(type="mmdyn.BlockCopy", host="EncoderDecoder", budget=0.3, block_size=64)
test_evaluator = [
    dict(type="mmdyn.VideoIoUMetric", iou_metrics=["mIoU"]),
    dict(type="mmdyn.BlockStatsMetric"),
]
