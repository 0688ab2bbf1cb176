"""The CamVid network with BlockCopy on the validation clip, which is one drive at 15 Hz."""

_base_ = "./deeplabv3plus_r18-d8_1xb4-1200_camvid-352x480.py"
model = dict(type="mmdyn.BlockCopy", host="EncoderDecoder", budget=0.5, block_size=(72, 80))
test_evaluator = [
    dict(type="mmdyn.VideoIoUMetric", iou_metrics=["mIoU"]),
    dict(type="mmdyn.BlockStatsMetric"),
]
